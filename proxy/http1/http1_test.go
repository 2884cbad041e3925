package http1_test

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// handlerFunc lets a function answer requests.
type handlerFunc func(httpmsg.ResponseWriter, *httpmsg.Request)

func (f handlerFunc) ServeExchange(w httpmsg.ResponseWriter, r *httpmsg.Request) { f(w, r) }

// content is a body of known bytes that arrive in the given pieces: each is there at
// once, the next has to be awaited.
type content struct {
	pieces []string
	await  bool
	err    error // what follows, io.EOF if nil
	mu     sync.Mutex
	closed bool
}

func (c *content) Read(p []byte) (int, error) {
	if len(c.pieces) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; c.pieces[0] == "" {
		c.pieces = c.pieces[1:]
		c.await = true
	}
	return n, nil
}

func (c *content) Buffered() int {
	switch {
	case len(c.pieces) == 0:
		return -1
	case c.await:
		c.await = false
		return 0
	default:
		return len(c.pieces[0])
	}
}

func (c *content) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func text(s string) *httpmsg.Response {
	r := &httpmsg.Response{Status: 200, Body: httpmsg.NoBody, ContentLength: int64(len(s))}
	if s != "" {
		r.Body = &content{pieces: []string{s}}
	}
	return r
}

// pipe is a pair of connected TCP sockets on loopback.
func pipe(tb testing.TB) (a, b *net.TCPConn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan net.Conn, 1)
	go func() {
		c, _ := net.Dial("tcp", l.Addr().String())
		dialled <- c
	}()
	c, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	d := <-dialled
	if d == nil {
		tb.Fatal("dial failed")
	}
	tb.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// serve runs a ServerConn and returns the downstream's end; the error of Serve is
// checked to come in bounded time at the end of the test.
func serve(tb testing.TB, o http1.ServerOptions, h httpmsg.Handler) (*net.TCPConn, <-chan error) {
	tb.Helper()
	server, client := pipe(tb)
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		result <- http1.NewServerConn(server, o).Serve(h)
		close(done)
	}()
	tb.Cleanup(func() {
		client.Close()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			tb.Error("Serve did not return")
		}
	})
	return client, result
}

func send(tb testing.TB, c net.Conn, s string) {
	tb.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		tb.Fatalf("write: %v", err)
	}
}

// all reads until the end of the stream.
func all(tb testing.TB, c net.Conn) string {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		tb.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// expect reads as many bytes as want has and compares.
func expect(tb testing.TB, c net.Conn, want string) {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, len(want))
	n, err := io.ReadFull(c, b)
	if got := string(b[:n]); got != want {
		tb.Fatalf("got  %q, %v\nwant %q", got, err, want)
	}
}

// seen describes a request in one line.
func seen(r *httpmsg.Request) string {
	var b strings.Builder
	b.WriteString(r.Method + " " + r.Scheme + " " + r.Authority + " " + r.Path)
	for _, f := range r.Header.Fields {
		b.WriteString(" [" + f.Name + ": " + f.Value + "]")
	}
	if r.Upgrade != "" {
		b.WriteString(" upgrade=" + r.Upgrade)
	}
	if r.Body != httpmsg.NoBody {
		body, err := io.ReadAll(r.Body)
		b.WriteString(" body=" + string(body))
		if err != nil {
			b.WriteString(" error=" + err.Error())
		}
	}
	return b.String()
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
