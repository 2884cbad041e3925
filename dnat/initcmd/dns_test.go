package initcmd_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// answerDatagrams answers every datagram to a port, from a socket of the owner.
func (n *namespace) answerDatagrams(t *testing.T, o owner, ip string, port int, answer string) {
	t.Helper()
	n.do(t, o, func() error {
		c, err := net.ListenPacket("udp", hostPort(ip, port))
		if err != nil {
			return err
		}
		done := make(chan struct{})
		t.Cleanup(func() { _ = c.Close(); <-done })
		go func() {
			defer close(done)
			buf := make([]byte, 512)
			for {
				_, peer, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo([]byte(answer), peer)
			}
		}()
		return nil
	})
}

// query sends one datagram from a fixed port and returns the answer; the answer has to come from whom was asked.
func (n *namespace) query(o owner, source string, port int, ip string) string {
	var got string
	err := n.try(o, func() error {
		d := net.Dialer{Timeout: dialLimit, LocalAddr: &net.UDPAddr{IP: netip.MustParseAddr(source).AsSlice(), Port: port}}
		c, err := d.Dial("udp", hostPort(ip, 53))
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(dialLimit)); err != nil {
			return err
		}
		if _, err := fmt.Fprint(c, "question"); err != nil {
			return err
		}
		buf := make([]byte, 512)
		size, err := c.Read(buf)
		got = string(buf[:size])
		return err
	})
	if err != nil {
		return err.Error()
	}
	return got
}

func TestDNSCapture(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		m.mustInit(t, with(flag, "--redirect-dns", "--capture-all-dns")...)
		m.pod.serve(t, 15053, func(*net.TCPConn) string { return "proxy by TCP" })
		forEachFamily(t, func(t *testing.T, f dnat.Family) {
			m.pod.answerDatagrams(t, proxyUser, locals[f], 15053, "proxy")
			m.peer.answerDatagrams(t, app, farIPs[f], 53, "upstream")
			pod, far := podIPs[f], farIPs[f]
			// The proxy asks first, from the port the app then reuses: without zones the app would meet the
			// proxy's conntrack entry and reach the upstream.
			for _, q := range []struct {
				name string
				who  owner
				port int
				want string
			}{
				{"proxy", proxyUser, 40053, "upstream"},
				{"app from the same port", app, 40053, "proxy"},
				{"app from another port", app, 40054, "proxy"},
				{"proxy from the app's port", proxyGroup, 40054, "upstream"},
			} {
				if got := m.pod.query(q.who, pod, q.port, far); got != q.want {
					t.Errorf("%s: got %q, want %q", q.name, got, q.want)
				}
			}
			check(t, []wantDial{
				{"by TCP", m.pod, app, "", far, 53, "proxy by TCP"},
				{"other TCP", m.pod, app, "", far, 80, "15001 " + hostPort(far, 80)},
			})
		})
	})
}

func TestValidation(t *testing.T) {
	forEachBackend(t, func(t *testing.T, m *mesh, flag string) {
		// Ports of their own: the mesh has its listeners on the usual ones.
		ports := []string{"-p", "16001", "-z", "16006", "-i", "*", "-b", "*", flag}
		if log := m.mustInit(t, append(ports, "--run-validation")...); !strings.Contains(log, "capture validated") {
			t.Errorf("log: %s", log)
		}
		m.mustInit(t, append(ports, "--run-validation", "--skip-rule-apply", "--dual-stack")...)
		m.mustInit(t, "--cleanup-only")
		start := time.Now()
		code, log := m.init(t, nil, append(ports, "--run-validation", "--skip-rule-apply", "--probe-timeout", "300ms")...)
		if code != 126 || !strings.Contains(log, "did not arrive") {
			t.Errorf("without rules: exit code %d, want 126: %s", code, log)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v, want about 300ms", took)
		}
	})
}
