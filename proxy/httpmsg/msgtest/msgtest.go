// Package msgtest has what tests of both codecs are made of: handlers that are functions,
// bodies of known bytes, connected sockets.
package msgtest

import (
	"io"
	"net"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// HandlerFunc lets a function answer requests.
type HandlerFunc func(httpmsg.ResponseWriter, *httpmsg.Request)

// ServeExchange implements httpmsg.Handler.
func (f HandlerFunc) ServeExchange(w httpmsg.ResponseWriter, r *httpmsg.Request) { f(w, r) }

// Content is a body of known bytes that arrive in the given pieces: each is there at
// once, the next has to be awaited.
type Content struct {
	Pieces []string
	Err    error // what follows, io.EOF if nil

	await bool
}

// Read implements httpmsg.Body.
func (c *Content) Read(p []byte) (int, error) {
	if len(c.Pieces) == 0 {
		if c.Err != nil {
			return 0, c.Err
		}
		return 0, io.EOF
	}
	n := copy(p, c.Pieces[0])
	if c.Pieces[0] = c.Pieces[0][n:]; c.Pieces[0] == "" {
		c.Pieces = c.Pieces[1:]
		c.await = true
	}
	return n, nil
}

// Buffered implements httpmsg.Body.
func (c *Content) Buffered() int {
	switch {
	case len(c.Pieces) == 0:
		return -1
	case c.await:
		c.await = false
		return 0
	default:
		return len(c.Pieces[0])
	}
}

// Close implements httpmsg.Body.
func (c *Content) Close() error { return nil }

// Text is a response with a body that is there.
func Text(s string) *httpmsg.Response {
	r := &httpmsg.Response{Status: 200, Body: httpmsg.NoBody, ContentLength: int64(len(s))}
	if s != "" {
		r.Body = &Content{Pieces: []string{s}}
	}
	return r
}

// Pipe is a pair of connected TCP sockets on loopback.
func Pipe(tb testing.TB) (a, b *net.TCPConn) {
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
