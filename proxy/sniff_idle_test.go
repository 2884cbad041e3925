//go:build !race

package proxy

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// maxSilentHeap is what the heap may hold for a connection that waits for its first
// byte, besides its socket.
const maxSilentHeap = 1 << 10

func TestSilentConnectionsHoldNoBuffer(t *testing.T) { //nolint:paralleltest // measures the heap
	const conns = 100
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // pools need two collections
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) //nolint:gosec // it is not that large
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ours, theirs := make([]net.Conn, conns), make([]net.Conn, conns)
	for i := range conns {
		if theirs[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if ours[i], err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	var sniffing sync.WaitGroup
	for _, conn := range ours {
		sniffing.Go(func() {
			s := sniffer{in: &Inspect{TLS: true, HTTP: true}}
			sock := &socket{Conn: conn}
			err := s.detect(sock, 80)
			if errors.Is(err, errSilent) {
				err = s.resume(sock)
			}
			if err != nil || string(sock.prefix) != "GET / HTTP/1.1\r\n" || len(s.found.ALPN) != 1 {
				t.Errorf("found %+v in %q, %v", s.found, sock.prefix, err)
			}
		})
	}
	awaitSniffers(t, conns)
	if per := (heap() - before) / conns; per > maxSilentHeap {
		t.Errorf("%d bytes of heap per silent connection, want at most %d", per, maxSilentHeap)
	}
	for _, conn := range theirs {
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
			t.Error(err)
		}
	}
	sniffing.Wait()
	for i := range conns {
		_, _ = ours[i].Close(), theirs[i].Close()
	}
}

// awaitSniffers returns when n sniffers wait for their sockets.
func awaitSniffers(t *testing.T, n int) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got := 0
		for g := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			if bytes.Contains(g, []byte("[IO wait")) && bytes.Contains(g, []byte("sniffer")) {
				got++
			}
		}
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections wait, want %d", got, n)
		}
	}
}
