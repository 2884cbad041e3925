package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// tcpRig relays to addr.
func tcpRig(t testing.TB, edit func(*proxy.TCPSpec), addr ...string) *rig {
	t.Helper()
	rec := newRecords()
	spec := proxy.TCPSpec{
		Clusters:    []proxy.WeightedCluster{{Cluster: cluster(t, nil, addr...), Weight: 1}},
		IdleTimeout: proxy.DefaultTCPIdleTimeout, Observers: nil,
	}
	spec.Observers = append(spec.Observers, rec)
	if edit != nil {
		edit(&spec)
	}
	return newRig(t, proxy.NewTCP(spec), rec)
}

func TestHalfCloseIsPassedOn(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		b, _ := io.ReadAll(r) // ends with the downstream's half-close
		_, _ = c.Write(append([]byte("echo "), b...))
	})
	g := tcpRig(t, nil, addr)
	c := g.dial()
	_, _ = io.WriteString(c, "all there is")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "echo all there is" {
		t.Fatalf("got %q, %v", b, err)
	}
	r := g.records.next(t)
	if r.Request.Bytes != 12 || r.Response.Bytes != 17 || r.flags != "-" || r.Termination != "" || r.Upstream.Endpoint.String() != addr {
		t.Errorf("record %+v", r.Record)
	}
}

func TestServerThatSpeaksFirstAndEndsFirst(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "banner")
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(r)
		got <- string(b)
	})
	g := tcpRig(t, nil, addr)
	c := g.dial()
	if b, err := io.ReadAll(c); err != nil || string(b) != "banner" {
		t.Fatalf("got %q, %v", b, err)
	}
	_, _ = io.WriteString(c, "still sending")
	_ = c.Close()
	if s := <-got; s != "still sending" {
		t.Errorf("upstream got %q", s)
	}
}

// pattern is a stream of n reproducible bytes.
func pattern(n int64, seed byte) io.Reader {
	block := bytes.Repeat([]byte{seed, 1, 2, 3, 5, 7, 11}, 9362)
	return io.LimitReader(&cycle{block: block}, n)
}

type cycle struct {
	block []byte
	at    int
}

func (c *cycle) Read(p []byte) (int, error) {
	n := copy(p, c.block[c.at:])
	c.at = (c.at + n) % len(c.block)
	return n, nil
}

func digest(r io.Reader) (sum [32]byte, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return [32]byte(h.Sum(nil)), n, err
}

// bulk is what the copy test sends each way; under the race detector it is less.
func bulk(t *testing.T) int64 {
	if testing.Short() || raceEnabled {
		return 32 << 20
	}
	t.Helper()
	return 128 << 20
}

func TestBulkCopyBothWaysWithEarlyHalfClose(t *testing.T) {
	t.Parallel()
	size := bulk(t)
	upSum := make(chan [32]byte, 1)
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		ended := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			out := pattern(size, 9)
			_, _ = io.CopyN(c, out, size/2)
			<-ended // the second half comes when the downstream has half-closed
			_, _ = io.Copy(c, out)
			_ = c.(*net.TCPConn).CloseWrite()
		})
		sum, _, _ := digest(r)
		close(ended)
		upSum <- sum
		wg.Wait()
	})
	g := tcpRig(t, nil, addr)
	c := g.dial()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(c, pattern(size, 4))
		_ = c.(*net.TCPConn).CloseWrite()
	})
	got, n, err := digest(c)
	wg.Wait()
	want, _, _ := digest(pattern(size, 9))
	if err != nil || n != size || got != want {
		t.Fatalf("downstream got %d of %d bytes, intact %v, error %v", n, size, got == want, err)
	}
	if want, _, _ := digest(pattern(size, 4)); <-upSum != want {
		t.Error("upstream got other bytes than were sent")
	}
	if r := g.records.next(t); r.Request.Bytes != size || r.Response.Bytes != size {
		t.Errorf("counted %d up and %d down", r.Request.Bytes, r.Response.Bytes)
	}
}

func TestIdleRelayEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	addr := script(t, func(_ int, _ net.Conn, r *bufio.Reader) {
		_, _ = io.Copy(io.Discard, r)
		close(ended)
	})
	g := tcpRig(t, func(s *proxy.TCPSpec) { s.IdleTimeout = 100 * time.Millisecond }, addr)
	c := g.dial()
	_, _ = io.WriteString(c, "x")
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) { // which it is if our byte was not read in time
		t.Errorf("read: %v", err)
	}
	<-ended
	if r := g.records.next(t); r.Termination != "idle_timeout" {
		t.Errorf("termination %q", r.Termination)
	}
}

func TestBytesInOneDirectionKeepARelayAlive(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, _ *bufio.Reader) {
		for range 40 {
			if _, err := io.WriteString(c, "tick"); err != nil {
				return
			}
			time.Sleep(75 * time.Millisecond) // the point of the test: slower than a tick, faster than idle
		}
	})
	g := tcpRig(t, func(s *proxy.TCPSpec) { s.IdleTimeout = patience }, addr)
	b, err := io.ReadAll(g.dial())
	if err != nil || len(b) != 160 {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
}

func TestMaximumDurationEndsABusyRelay(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, _ *bufio.Reader) { _, _ = io.Copy(c, pattern(1<<40, 1)) })
	g := tcpRig(t, func(s *proxy.TCPSpec) { s.MaxDuration = 100 * time.Millisecond }, addr)
	_, _ = io.Copy(io.Discard, g.dial())
	if r := g.records.next(t); r.flags != "DT" || r.Termination != "max_connection_duration_reached" {
		t.Errorf("flags %s, termination %q", r.flags, r.Termination)
	}
}

func TestFailedConnectsAreRecorded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		addr  func(t *testing.T) []string
		edit  func(*proxy.TCPSpec)
		flags string
		why   string
		tries int
	}{
		{name: "refused", addr: func(t *testing.T) []string { return []string{closedPort(t)} }, flags: "UF,URX", why: "delayed connect error: Connection refused", tries: 1},
		{
			name: "refused twice", addr: func(t *testing.T) []string { return []string{closedPort(t)} },
			edit: func(s *proxy.TCPSpec) { s.MaxConnectAttempts = 2 }, flags: "UF,URX", why: "delayed connect error: Connection refused", tries: 2,
		},
		{name: "no endpoint", addr: func(*testing.T) []string { return nil }, flags: "UH"},
		{
			name: "no cluster", addr: func(*testing.T) []string { return nil },
			edit:  func(s *proxy.TCPSpec) { s.Clusters[0].Cluster = upstream.New("none", upstream.Options{}) },
			flags: "NC",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := tcpRig(t, tt.edit, tt.addr(t)...)
			if b, err := io.ReadAll(g.dial()); len(b) != 0 || err != nil {
				t.Errorf("read %q, %v", b, err)
			}
			r := g.records.next(t)
			if r.flags != tt.flags || r.Upstream.FailureReason != tt.why || r.Upstream.Attempts != tt.tries {
				t.Errorf("got flags %s reason %q attempts %d", r.flags, r.Upstream.FailureReason, r.Upstream.Attempts)
			}
		})
	}
}

func TestUpstreamThatDiesLeavesItsLastWords(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = r.ReadByte()
		_, _ = io.WriteString(c, "last words")
	})
	g := tcpRig(t, nil, addr)
	c := g.dial()
	_, _ = io.WriteString(c, "x")
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "last words" {
		t.Errorf("got %q, %v", b, err)
	}
	_ = c.Close()
	g.records.next(t)
}

func BenchmarkRelay(b *testing.B) {
	const size = 64 << 20
	addr := script(b, func(_ int, c net.Conn, _ *bufio.Reader) { _, _ = io.Copy(c, pattern(size, 1)) })
	g := tcpRig(b, nil, addr)
	b.SetBytes(size)
	for b.Loop() {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			b.Fatal(n, err)
		}
		_ = c.Close()
	}
}
