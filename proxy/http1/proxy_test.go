package http1_test

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// forwarder is the smallest proxy: one upstream connection per downstream one.
type forwarder struct {
	up    *http1.ClientConn
	abort func()
	err   error
}

func newForwarder(up net.Conn) *forwarder {
	f := &forwarder{up: http1.NewClientConn(up, http1.ClientOptions{})}
	f.abort = func() { f.up.Abort(errGone) }
	return f
}

var errGone = errors.New("downstream left")

func (f *forwarder) ServeExchange(w httpmsg.ResponseWriter, r *httpmsg.Request) {
	r.Interim = nil
	if r.Header.Has("expect") || r.Header.Has("interim") { // it allocates
		r.Interim = w.WriteInterim
	}
	watcher := w.(httpmsg.Watcher)
	watcher.Watch(f.abort)
	res, err := f.up.RoundTrip(r, time.Time{})
	watcher.Unwatch()
	if err == nil {
		_, err = w.WriteResponse(res)
	}
	f.err = err
	f.up.Release()
}

// proxied returns the downstream's and the upstream's end of a proxy.
func proxied(tb testing.TB, o http1.ServerOptions) (down, up *net.TCPConn) {
	tb.Helper()
	near, up := msgtest.Pipe(tb)
	f := newForwarder(near)
	tb.Cleanup(func() { f.up.Close() }) // runs when Serve has returned
	down, _ = serve(tb, o, f)
	return down, up
}

// echo answers each read with the same bytes, as raw as can be.
func echo(c net.Conn, answer []byte) {
	b := make([]byte, 16<<10)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

var (
	benchRequest  = []byte("GET /a?b=c HTTP/1.1\r\nHost: echo.default:8080\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n")
	benchResponse = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\nDate: Mon, 02 Feb 2026 10:00:00 GMT\r\n\r\n" +
		strings.Repeat("x", 1024))
)

func BenchmarkProxy(b *testing.B) {
	down, up := proxied(b, http1.ServerOptions{})
	go echo(up, benchResponse)
	b.ReportAllocs()
	load(b, down)
}

func BenchmarkReverseProxyOfNetHTTP(b *testing.B) {
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer origin.Close()
	go func() {
		for {
			c, err := origin.Accept()
			if err != nil {
				return
			}
			go echo(c, benchResponse)
		}
	}()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{
		Handler:  httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: origin.Addr().String()}),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = s.Serve(front) }()
	defer s.Close()
	down, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer down.Close()
	b.ReportAllocs()
	load(b, down)
}

// BenchmarkDirect is the part of the other two that is the kernel and the client.
func BenchmarkDirect(b *testing.B) {
	down, up := msgtest.Pipe(b)
	go echo(up, benchResponse)
	b.ReportAllocs()
	load(b, down)
}

func load(b *testing.B, c net.Conn) {
	br := bufio.NewReader(c)
	for b.Loop() {
		if _, err := c.Write(benchRequest); err != nil {
			b.Fatal(err)
		}
		if err := skipResponse(br, 1024); err != nil {
			b.Fatal(err)
		}
	}
}

func skipResponse(br *bufio.Reader, n int) error {
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
	}
	_, err := br.Discard(n)
	return err
}
