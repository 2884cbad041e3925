package acceptance_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// undeclared are services whose ports do not say what they speak: one in the mesh,
// one outside of it.
func undeclared(outside string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: quiet, namespace: town }
spec:
  hosts: [quiet.town.svc.cluster.local]
  addresses: [10.96.9.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - { number: 3310, name: a }
  - { number: 2525, name: b }
  - { number: 2526, name: d }
  - { number: 2527, name: e }
  - { number: 8090, name: c }
  workloadSelector: { labels: { app: solo } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside, namespace: town }
spec:
  hosts: [outside.example]
  addresses: [10.96.9.2]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - { number: 3310, name: a }
  - { number: 2525, name: b }
  - { number: 2526, name: d }
  - { number: 2527, name: e }
  - { number: 8090, name: c }
  endpoints: [{ address: %s }]
`, outside)
}

// serves puts f on one more port of a pod, and counts its connections.
func serves(t *testing.T, pod *testmesh.Pod, port int, f func(c net.Conn, r *bufio.Reader)) *atomic.Int64 {
	t.Helper()
	l, err := pod.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	n := new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				f(c, bufio.NewReader(c))
			}()
		}
	}()
	return n
}

// mysql greets with a handshake packet, takes a login and says OK.
func mysql(c net.Conn, r *bufio.Reader) {
	_, _ = io.WriteString(c, "\x09\x00\x00\x00\x0a8.4.0\x00\x00\x00")
	login := make([]byte, 8)
	if _, err := io.ReadFull(r, login); err == nil {
		_, _ = io.WriteString(c, "\x03\x00\x00\x02\x00\x00\x00")
	}
}

// login plays mysql's client.
func login(c net.Conn) error {
	hello := make([]byte, 13)
	if _, err := io.ReadFull(c, hello); err != nil {
		return fmt.Errorf("read the greeting: %w", err)
	}
	if string(hello[4:10]) != "\x0a8.4.0" {
		return fmt.Errorf("got the greeting %q", hello)
	}
	if _, err := io.WriteString(c, "\x04\x00\x00\x01root"); err != nil {
		return err
	}
	ok := make([]byte, 7)
	if _, err := io.ReadFull(c, ok); err != nil {
		return fmt.Errorf("read OK: %w", err)
	}
	return nil
}

// smtp answers each line.
func smtp(c net.Conn, r *bufio.Reader) {
	_, _ = io.WriteString(c, "220 mail\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		code := "250 "
		if strings.HasPrefix(line, "QUIT") {
			code = "221 "
		}
		_, _ = io.WriteString(c, code+line)
	}
}

// mails plays smtp's client.
func mails(c net.Conn) error {
	r := bufio.NewReader(c)
	for _, say := range []string{"", "EHLO me\r\n", "MAIL FROM:<a@b>\r\n", "QUIT\r\n"} {
		if _, err := io.WriteString(c, say); err != nil {
			return err
		}
		line, err := r.ReadString('\n')
		if err != nil || line[0] != '2' {
			return fmt.Errorf("after %q: got %q, %w", say, line, err)
		}
	}
	return nil
}

func web(c net.Conn, r *bufio.Reader) {
	if _, err := head(r); err == nil {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
	}
}

// reluctant greets when others have long given up, as servers do that look names up.
func reluctant(c net.Conn, r *bufio.Reader) {
	pause(1500 * time.Millisecond)
	smtp(c, r)
}

// patience has both sides speak late, in pieces, at once, or not at all.
func patience(t *testing.T, from *testmesh.Pod, host string) {
	t.Helper()
	t.Run("a server that greets late", func(t *testing.T) {
		if err := mails(dial(t, from, host+":2526")); err != nil {
			t.Error(err)
		}
	})
	t.Run("a client that does not wait for the greeting", func(t *testing.T) {
		conn := dial(t, from, host+":2526")
		send(t, conn, "EHLO eager\r\n")
		r := bufio.NewReader(conn)
		for _, want := range []string{"220 mail\r\n", "250 EHLO eager\r\n"} {
			if got, err := r.ReadString('\n'); err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
	})
	t.Run("a server that closes without a word", func(t *testing.T) {
		conn := dial(t, from, host+":2527")
		pause(300 * time.Millisecond)
		send(t, conn, "EHLO\r\n")
		if got, err := io.ReadAll(conn); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("HTTP in pieces, after a silence", func(t *testing.T) {
		conn := dial(t, from, host+":8090")
		for _, piece := range []string{"", "G", "ET /pieces HT", "TP/1.1\r\nhost: p", "ieces\r\n\r", "\n"} {
			pause(200 * time.Millisecond)
			send(t, conn, piece)
		}
		resp, body := answer(t, bufio.NewReader(conn), "GET")
		if resp.StatusCode != 200 || body != "hi" || resp.Header.Get("Server") != "istio-envoy" && resp.Header.Get("Server") != "envoy" {
			t.Errorf("got %d %v %q", resp.StatusCode, resp.Header, body)
		}
	})
	t.Run("HTTP/2 after a silence", func(t *testing.T) {
		conn := dial(t, from, host+":8090")
		pause(500 * time.Millisecond)
		send(t, conn, http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		frame, err := http2.NewFramer(io.Discard, conn).ReadFrame()
		if _, ok := frame.(*http2.SettingsFrame); err != nil || !ok {
			t.Errorf("got %v, %v instead of settings", frame, err)
		}
	})
}

func TestMeshServersThatSpeakFirstNeedNoDeclaration(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(logged))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("plain")
	apply(t, mesh, "undeclared", undeclared(plain.Addr().String()))
	accepted := map[string]*atomic.Int64{}
	for name, pod := range map[string]*testmesh.Pod{"solo": solo, "plain": plain} {
		accepted[name] = serves(t, pod, 3310, mysql)
		serves(t, pod, 2525, smtp)
		serves(t, pod, 2526, reluctant)
		serves(t, pod, 2527, func(net.Conn, *bufio.Reader) {})
		serves(t, pod, 8090, web)
	}
	direct := solo.Addr().String()
	eventually(t, "the services are known", func() bool {
		c, err := tryDial(t, client, "10.96.9.1:3310")
		return err == nil && c.SetDeadline(time.Now().Add(soon)) == nil && login(c) == nil
	})
	for name, c := range map[string]struct {
		from *testmesh.Pod
		host string
	}{
		"through two sidecars":             {client, "10.96.9.1"},
		"from a mesh to a plain server":    {client, "10.96.9.2"},
		"from a plain client, permissive":  {plain, direct},
		"through one sidecar, passthrough": {client, plain.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if err := login(dial(t, c.from, c.host+":3310")); err != nil {
				t.Errorf("MySQL: %v", err)
			}
			if err := mails(dial(t, c.from, c.host+":2525")); err != nil {
				t.Errorf("SMTP: %v", err)
			}
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("took %v", took)
			}
			t.Run("an HTTP client that connects early", func(t *testing.T) {
				conn := dial(t, c.from, c.host+":8090")
				pause(500 * time.Millisecond)
				send(t, conn, "GET /early HTTP/1.1\r\nhost: early\r\n\r\n")
				resp, body := answer(t, bufio.NewReader(conn), "GET")
				if resp.StatusCode != 200 || body != "hi" {
					t.Errorf("got %v %q", resp, body)
				}
				if c.host != plain.Addr().String() && resp.Header.Get("X-Envoy-Upstream-Service-Time") == "" && resp.Header.Get("Server") != "istio-envoy" {
					t.Errorf("it was not served as HTTP: %v", resp.Header)
				}
			})
		})
	}
	for name, c := range map[string]struct {
		from *testmesh.Pod
		host string
	}{
		"through two sidecars":            {client, "10.96.9.1"},
		"from a plain client, permissive": {plain, direct},
	} {
		t.Run(name+", patience", func(t *testing.T) { patience(t, c.from, c.host) })
	}
	t.Run("STRICT", func(t *testing.T) {
		apply(t, mesh, "mode", peerAuthentication("STRICT", ""))
		eventually(t, "plain text is refused", func() bool { return !takes(plain, "http://"+direct+":8080/") })
		before := accepted["solo"].Load()
		conn := dial(t, plain, direct+":3310")
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %d bytes, %v", n, err)
		}
		if n := accepted["solo"].Load() - before; n != 0 {
			t.Errorf("the application got %d connections", n)
		}
		if err := login(dial(t, client, "10.96.9.1:3310")); err != nil {
			t.Errorf("within the mesh: %v", err)
		}
		if err := mails(dial(t, client, "10.96.9.1:2525")); err != nil {
			t.Errorf("within the mesh: %v", err)
		}
		patience(t, client, "10.96.9.1")
	})
}
