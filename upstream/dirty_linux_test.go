package upstream_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// chatty answers every request, and on its first connection says more when told to.
type chatty struct {
	l    net.Listener
	more chan string
	wg   sync.WaitGroup
}

func newChatty(t *testing.T) *chatty {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &chatty{l: l, more: make(chan string)}
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		close(c.more)
		c.wg.Wait()
	})
	return c
}

func (c *chatty) accept() {
	for first := true; ; first = false {
		conn, err := c.l.Accept()
		if err != nil {
			return
		}
		c.wg.Go(func() { serveChatty(conn) })
		if first {
			c.wg.Go(func() {
				for s := range c.more {
					_, _ = io.WriteString(conn, s)
				}
			})
		}
	}
}

func serveChatty(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// waiting reports whether a socket has something to read.
func waiting(t *testing.T, conn net.Conn) bool {
	t.Helper()
	rc, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if ctl := rc.Control(func(fd uintptr) {
		n, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}); ctl != nil || err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(ctl, err)
	}
	return n > 0
}

func TestWaiterIsNotGivenAConnectionWithAnotherResponse(t *testing.T) {
	t.Parallel()
	peer := newChatty(t)
	c, dialled := dialling(t)
	at := netip.MustParseAddrPort(peer.l.Addr().String())
	c.Publish(&upstream.Spec{ConnectTimeout: time.Minute, Limits: upstream.Limits{Connections: 1}},
		lb.NewSet(nil, specsOf([]netip.AddrPort{at}), lb.Policy{}))
	e := pick(t, c)
	s := open(t, c, e)
	talk(t, s)
	got := make(chan string, 1)
	go func() {
		w, err := c.Open(t.Context(), e, nil)
		if err != nil {
			got <- err.Error()
			return
		}
		defer w.Close()
		if w.Reused() {
			got <- "a used connection"
			return
		}
		got <- talk(t, w)
	}()
	eventually(t, "a request waits", func() bool { return c.Stats().Requests.PendingActive.Load() == 1 })
	peer.more <- "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nPOISON"
	first := <-dialled
	eventually(t, "the response arrives", func() bool { return waiting(t, first) })
	s.Close()
	if got := <-got; got != "ok" {
		t.Errorf("the waiter got %s, want ok over a connection of its own", got)
	}
	if got := c.Stats().Stale.Found.Load(); got != 1 {
		t.Errorf("counted %d dead connections, want 1", got)
	}
}
