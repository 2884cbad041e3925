package acceptance_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// soon bounds the wait for what should happen at once, long for a busy machine.
const soon = time.Minute

// logged is a MeshConfig with access logs, in Istio's default format.
const logged = `trustDomain: cluster.local
accessLogFile: /dev/stdout
enableTracing: false
outboundTrafficPolicy: { mode: ALLOW_ANY }
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
`

// town starts a mesh with the services of testdata.
func town(t *testing.T, opts ...testmesh.Option) *testmesh.Mesh {
	t.Helper()
	return testmesh.Start(t, "testdata/town", opts...)
}

func apply(t *testing.T, mesh *testmesh.Mesh, name, text string) {
	t.Helper()
	if err := mesh.Apply(name, text); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, mesh *testmesh.Mesh, name string) {
	t.Helper()
	if err := mesh.Delete(name); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !within(soon, ok) {
		t.Fatalf("not within %v: %s", soon, what)
	}
}

// within reports whether ok becomes true in time.
func within(limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// stays fails the test if ok becomes false during a span.
func stays(t *testing.T, span time.Duration, what string, ok func() bool) {
	t.Helper()
	if within(span, func() bool { return !ok() }) {
		t.Errorf("no longer: %s", what)
	}
}

// pause lets a span pass in which something must not happen.
func pause(d time.Duration) { _ = within(d, func() bool { return false }) }

// dial connects from a pod; every read and write has a bounded time.
func dial(t *testing.T, pod *testmesh.Pod, addr string) *net.TCPConn {
	t.Helper()
	c, err := tryDial(t, pod, addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryDial(t *testing.T, pod *testmesh.Pod, addr string) (*net.TCPConn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c, err := pod.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Close() }) // often closed already
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), nil
}

func send(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// echoes reports whether an echo connection answers.
func echoes(c net.Conn) error {
	const word = "are you there?\n"
	if err := c.SetDeadline(time.Now().Add(soon)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, word); err != nil {
		return err
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != word {
		return fmt.Errorf("got %q, want %q", got, word)
	}
	return nil
}

// talk sends a text on a new connection and returns all that comes back until
// the peer closes or the limit passes; closed tells which.
func talk(t *testing.T, pod *testmesh.Pod, addr, text string, limit time.Duration) (got string, closed bool) {
	t.Helper()
	c, err := tryDial(t, pod, addr)
	if err != nil {
		return "", true
	}
	defer c.Close()
	_, _ = io.WriteString(c, text) // may be refused meanwhile
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	return string(b), !errors.Is(err, os.ErrDeadlineExceeded)
}

// answer reads one response and its body.
func answer(t *testing.T, in *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return resp, string(body)
}

// script puts f in the place of a pod's application, on one port; f's
// connections are closed when it returns, and it must return when they are.
func script(t *testing.T, pod *testmesh.Pod, port int, f func(c *net.TCPConn)) {
	t.Helper()
	if err := pod.StopApp(); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	eventually(t, "the application's port is free", func() (ok bool) {
		var err error
		l, err = pod.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", port))
		return err == nil
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				f(c.(*net.TCPConn))
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // ends accept
		<-ended
	})
}

// head reads from a scripted connection until the empty line.
func head(in *bufio.Reader) (string, error) {
	var b bytes.Buffer
	for {
		line, err := in.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}

// resting is what a sidecar holds at rest.
type resting struct{ Descriptors, Threads int }

func rest(t *testing.T, pod *testmesh.Pod) (r resting) {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pod.SidecarPID()))
	if err != nil {
		t.Fatal(err)
	}
	r.Descriptors = len(fds)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pod.SidecarPID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "Threads: %d", &r.Threads); err == nil {
			break
		}
	}
	return r
}

// cpu returns the processor time a sidecar has used.
func cpu(t *testing.T, pod *testmesh.Pod) time.Duration {
	t.Helper()
	used, err := pod.SidecarCPU()
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func unmarshal(text string, to any) error { return json.Unmarshal([]byte(text), to) }

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
