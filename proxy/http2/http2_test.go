package http2_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

type (
	handlerFunc = msgtest.HandlerFunc
	content     = msgtest.Content
)

func get(path string) *httpmsg.Request {
	return &httpmsg.Request{Method: "GET", Scheme: "http", Authority: "shop", Path: path, Body: httpmsg.NoBody}
}

func post(path string, pieces ...string) *httpmsg.Request {
	return &httpmsg.Request{
		Method: "POST", Scheme: "http", Authority: "shop", Path: path,
		Body: &content{Pieces: pieces}, ContentLength: httpmsg.Unknown,
	}
}

// bounded fails the test if what is awaited does not come.
func bounded[T any](tb testing.TB, what string, ch <-chan T) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		tb.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// serve runs a ServerConn, and returns it with the downstream's end.
func serve(tb testing.TB, o http2.ServerOptions, h httpmsg.Handler) (*http2.ServerConn, net.Conn, <-chan error) {
	tb.Helper()
	near, far := msgtest.Pipe(tb)
	c := http2.NewServerConn(near, o)
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		result <- c.Serve(h)
		close(done)
	}()
	tb.Cleanup(func() {
		far.Close()
		bounded(tb, "the end of Serve", done)
	})
	return c, far, result
}

// connect runs both sides against each other.
func connect(tb testing.TB, so http2.ServerOptions, co http2.ClientOptions, h httpmsg.Handler) *http2.ClientConn {
	tb.Helper()
	_, far, _ := serve(tb, so, h)
	c := http2.NewClientConn(far, co)
	tb.Cleanup(func() { c.Close() })
	return c
}

// answer is a response with its body read.
type answer struct {
	status  int
	header  httpmsg.Header
	body    string
	trailer httpmsg.Header
}

func do(tb testing.TB, c *http2.ClientConn, r *httpmsg.Request) (answer, error) {
	tb.Helper()
	s, err := c.Open()
	if err != nil {
		return answer{}, err
	}
	defer s.Close()
	res, err := s.RoundTrip(r, time.Now().Add(time.Minute))
	if err != nil {
		return answer{}, err
	}
	b, err := io.ReadAll(res.Body)
	return answer{res.Status, res.Header.Clone(), string(b), res.Trailer.Clone()}, err
}

func mustDo(tb testing.TB, c *http2.ClientConn, r *httpmsg.Request) answer {
	tb.Helper()
	a, err := do(tb, c, r)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

var echo = handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
	res := &httpmsg.Response{Status: 200, Body: r.Body, ContentLength: r.ContentLength}
	res.Header.Add("x-method", r.Method)
	res.Header.Add("x-path", r.Path)
	res.Header.Add("x-authority", r.Authority)
	_, _ = w.WriteResponse(res)
})

func TestGet(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	for range 3 {
		a := mustDo(t, c, get("/a?b=c"))
		if a.status != 200 || a.body != "" || a.header.Value("x-path") != "/a?b=c" || a.header.Value("x-authority") != "shop" {
			t.Errorf("got %+v", a)
		}
	}
	if got := c.Active(); got != 0 {
		t.Errorf("active = %d", got)
	}
}

func TestPostStreamsBothWays(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	a := mustDo(t, c, post("/", "one", "two", strings.Repeat("x", 300<<10)))
	if want := "onetwo" + strings.Repeat("x", 300<<10); a.body != want {
		t.Errorf("got %d bytes, want %d", len(a.body), len(want))
	}
}

func TestTrailersBothWays(t *testing.T) {
	seen := make(chan string, 1)
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		b, _ := io.ReadAll(r.Body)
		seen <- string(b) + r.Trailer.Value("x-sum")
		res := msgtest.Text("reply")
		res.ContentLength = httpmsg.Unknown
		res.Header.Add("content-type", "application/grpc")
		res.Trailer.Add("grpc-status", "0")
		_, _ = w.WriteResponse(res)
	}))
	r := post("/pkg.Service/Method", "message")
	r.Trailer.Add("x-sum", "7")
	a := mustDo(t, c, r)
	if got := bounded(t, "request", seen); got != "message7" {
		t.Errorf("request = %q", got)
	}
	if a.body != "reply" || a.trailer.Value("grpc-status") != "0" {
		t.Errorf("got %+v", a)
	}
}

func TestTrailersOnly(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		res := &httpmsg.Response{Status: 200, Body: httpmsg.NoBody}
		res.Header.Add("grpc-status", "5")
		_, _ = w.WriteResponse(res)
	}))
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := s.RoundTrip(post("/", "m"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != httpmsg.NoBody || res.Header.Value("grpc-status") != "5" || res.Header.Has("content-length") {
		t.Errorf("got %+v", res)
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	mustDo(t, c, get("/"))
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 50 {
				a, err := do(t, c, post("/", "hello", " ", "world"))
				if err != nil || a.body != "hello world" {
					t.Errorf("got %q, %v", a.body, err)
				}
			}
		})
	}
	all.Wait()
}

func TestProxyHop(t *testing.T) {
	up := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	down := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, forward(up))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				want := strings.Repeat("0123456789", 5000)
				a, err := do(t, down, post("/", want))
				if err != nil || a.body != want {
					t.Errorf("got %d bytes, %v", len(a.body), err)
				}
			}
		})
	}
	all.Wait()
}

var errLeft = errors.New("downstream left")

// forward is the smallest proxy.
func forward(up *http2.ClientConn) handlerFunc {
	return func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		s, err := up.Open()
		if err != nil {
			_, _ = w.WriteResponse(&httpmsg.Response{Status: 503, Body: httpmsg.NoBody})
			return
		}
		defer s.Close()
		watcher := w.(httpmsg.Watcher)
		watcher.Watch(func() { s.Abort(errLeft) })
		defer watcher.Unwatch()
		res, err := s.RoundTrip(r, time.Time{})
		if err != nil {
			_, _ = w.WriteResponse(&httpmsg.Response{Status: 502, Body: httpmsg.NoBody})
			return
		}
		_, _ = w.WriteResponse(res)
	}
}

func TestOpenAfterTheEnd(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	mustDo(t, c, get("/"))
	c.Close()
	if _, err := c.Open(); !errors.Is(err, http2.ErrGone) {
		t.Errorf("got %v", err)
	}
}
