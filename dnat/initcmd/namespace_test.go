package initcmd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/dnat"
	"github.com/outrigger-mesh/outrigger/dnat/initcmd"
)

// Addresses of the two namespaces. far and free are the peer's too, beyond its own network.
var (
	podIPs  = map[dnat.Family]string{dnat.IPv4: "10.77.0.1", dnat.IPv6: "fd77::1"}
	peerIPs = map[dnat.Family]string{dnat.IPv4: "10.77.0.2", dnat.IPv6: "fd77::2"}
	farIPs  = map[dnat.Family]string{dnat.IPv4: "192.0.2.1", dnat.IPv6: "2001:db8::1"}
	freeIPs = map[dnat.Family]string{dnat.IPv4: "198.51.100.1", dnat.IPv6: "2001:db8:f::1"}
	locals  = map[dnat.Family]string{dnat.IPv4: "127.0.0.1", dnat.IPv6: "::1"}
	sources = map[dnat.Family]string{dnat.IPv4: "127.0.0.6", dnat.IPv6: "::6"}
)

const dialLimit = time.Minute

// owner is who a socket belongs to.
type owner struct{ uid, gid int }

var (
	app        = owner{1000, 1000}
	proxyUser  = owner{1337, 1337}
	proxyGroup = owner{0, 1337}
)

// namespace is a network namespace without a name: it ends with its last user.
type namespace struct {
	file *os.File
}

func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("OUTRIGGER_MUST_MESH") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "needs root to create network namespaces")
	}
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		unavailable(t, "cannot create a network namespace: %v", r.err)
	}
	t.Cleanup(func() { _ = r.file.Close() })
	return &namespace{r.file}
}

func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// do runs f on a thread of its own inside the namespace, with sockets owned by o.
func (n *namespace) do(t testing.TB, o owner, f func() error) {
	t.Helper()
	if err := n.try(o, f); err != nil {
		t.Fatal(err)
	}
}

func (n *namespace) try(o owner, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			_, errGroup := unix.SetfsgidRetGid(o.gid)
			_, errUser := unix.SetfsuidRetUid(o.uid)
			err = errors.Join(errGroup, errUser)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// mesh is a pod and a peer with a cable between them.
type mesh struct {
	pod, peer *namespace
}

func newMesh(t testing.TB) *mesh {
	t.Helper()
	m := &mesh{newNamespace(t), newNamespace(t)}
	m.pod.do(t, owner{}, func() error {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0",
			PeerNamespace: netlink.NsFd(m.peer.file.Fd()),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth: %w", err)
		}
		return configure(podIPs, peerIPs)
	})
	m.peer.do(t, owner{}, func() error { return configure(peerIPs, nil, farIPs, freeIPs) })
	for _, port := range []int{15001, 15006} {
		m.pod.serve(t, port, func(c *net.TCPConn) string {
			orig, err := dnat.OriginalDst(c)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprintf("%d %v", port, orig)
		})
	}
	for _, port := range []int{8080, 8081, 8082, 15008} {
		m.pod.serve(t, port, func(c *net.TCPConn) string { return "app from " + from(c) })
	}
	for _, port := range []int{80, 7777, 9999} {
		m.peer.serve(t, port, func(c *net.TCPConn) string { return "peer from " + from(c) })
	}
	return m
}

func from(c *net.TCPConn) string {
	return netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().Unmap().String()
}

// configure brings lo and eth0 up and sends everything unknown through the gateway.
func configure(own, gateway map[dnat.Family]string, more ...map[dnat.Family]string) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		if name == "lo" {
			for _, ips := range more {
				if err := addAddrs(link, ips, 32, 128); err != nil {
					return err
				}
			}
			continue
		}
		if err := addAddrs(link, own, 24, 64); err != nil {
			return err
		}
		for _, ip := range gateway {
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.IP(netip.MustParseAddr(ip).AsSlice())}); err != nil {
				return fmt.Errorf("route by %s: %w", ip, err)
			}
		}
	}
	return nil
}

func addAddrs(link netlink.Link, ips map[dnat.Family]string, bits4, bits6 int) error {
	for family, ip := range ips {
		bits := bits4
		if family == dnat.IPv6 {
			bits = bits6
		}
		addr, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", ip, bits))
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s: %w", ip, err)
		}
	}
	return nil
}

// serve answers each connection with one line.
func (n *namespace) serve(t testing.TB, port int, answer func(*net.TCPConn) string) {
	t.Helper()
	n.do(t, owner{}, func() error {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)) // one socket for both families
		if err != nil {
			return err
		}
		done := make(chan struct{})
		t.Cleanup(func() { _ = l.Close(); <-done })
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, answer(c.(*net.TCPConn)))
				_ = c.Close()
			}
		}()
		return nil
	})
}

// dial returns the line the connection was answered with, or the error.
func (n *namespace) dial(o owner, source, ip string, port int) string {
	var line string
	err := n.try(o, func() error {
		d := net.Dialer{Timeout: dialLimit}
		if source != "" {
			d.LocalAddr = &net.TCPAddr{IP: netip.MustParseAddr(source).AsSlice()}
			d.Control = dnat.BindControl
		}
		c, err := d.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port)).String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(dialLimit)); err != nil {
			return err
		}
		line, err = bufio.NewReader(c).ReadString('\n')
		return err
	})
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// init runs the command in the pod and returns its log.
func (m *mesh) init(t *testing.T, environ []string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	args = append([]string{"--network-namespace", m.pod.path()}, args...)
	code := initcmd.Run(ctx, args, environ, &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

func (m *mesh) mustInit(t *testing.T, args ...string) string {
	t.Helper()
	code, log := m.init(t, []string{"PATH=" + os.Getenv("PATH")}, args...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, log)
	}
	return log
}

// dump is every rule of the pod with its handle and without counters, as far as tools to ask are installed.
func (m *mesh) dump(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	m.pod.do(t, owner{}, func() error {
		for _, args := range [][]string{{"nft", "-a", "-s", "list", "ruleset"}, {"iptables-legacy-save"}, {"ip6tables-legacy-save"}} {
			if _, err := exec.LookPath(args[0]); err != nil {
				continue
			}
			names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
			if args[0] != "nft" && (err != nil || len(names) == 0) {
				continue
			}
			var stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", args[0], err, stderr.String())
			}
			for line := range strings.Lines(string(out)) {
				if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
					all.WriteString(line)
				}
			}
		}
		return nil
	})
	return all.String()
}
