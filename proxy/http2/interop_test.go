package http2_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// stdServer is net/http's server at the far end of a connection of ours.
func stdServer(tb testing.TB, h http.HandlerFunc) *http2.ClientConn {
	tb.Helper()
	near, far := msgtest.Pipe(tb)
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&xhttp2.Server{}).ServeConn(near, &xhttp2.ServeConnOpts{Handler: h}) //nolint:staticcheck // serves a connection that exists
	}()
	c := http2.NewClientConn(far, http2.ClientOptions{})
	tb.Cleanup(func() {
		c.Close()
		near.Close()
		bounded(tb, "the end of the server", done)
	})
	return c
}

// stdClient is net/http's client for a server of ours.
func stdClient(tb testing.TB, o http2.ServerOptions, h httpmsg.Handler) *http.Client {
	tb.Helper()
	_, far, _ := serve(tb, o, h)
	//nolint:staticcheck // takes a connection that exists
	tr := &xhttp2.Transport{
		AllowHTTP:      true,
		DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { return far, nil },
	}
	tb.Cleanup(tr.CloseIdleConnections) //nolint:staticcheck // as above
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func TestNetHTTPServer(t *testing.T) {
	c := stdServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path)
		w.Header().Set("Trailer", "X-Sum")
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", http.StatusText(int(n)%500))
	})
	big := strings.Repeat("abcdefgh", 1<<17)
	for _, r := range []*httpmsg.Request{get("/one"), post("/two", "a", "b"), post("/three", big[:100000], big)} {
		want := strings.Join(piecesOf(r), "")
		path := r.Path
		a := mustDo(t, c, r)
		if a.status != 200 || a.header.Value("x-path") != path || a.body != want {
			t.Errorf("%s: got %d with %d bytes, want %d", path, a.status, len(a.body), len(want))
		}
	}
}

func piecesOf(r *httpmsg.Request) []string {
	if c, ok := r.Body.(*content); ok {
		return append([]string(nil), c.Pieces...)
	}
	return nil
}

func TestNetHTTPClient(t *testing.T) {
	c := stdClient(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		res := &httpmsg.Response{Status: 201, Body: r.Body, ContentLength: httpmsg.Unknown}
		res.Header.Add("x-cookie", r.Header.Value("cookie"))
		res.Trailer.Add("x-end", "yes")
		_, _ = w.WriteResponse(res)
	}))
	big := strings.Repeat("abcdefgh", 1<<18)
	for range 3 {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://shop/x", strings.NewReader(big))
		req.Header.Add("Cookie", "a=1; b=2; c=3")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 201 || string(b) != big {
			t.Errorf("got %d, %d bytes, %v", res.StatusCode, len(b), err)
		}
		if res.Trailer.Get("X-End") != "yes" || res.Header.Get("X-Cookie") != "a=1; b=2; c=3" {
			t.Errorf("trailer %v, header %v", res.Trailer, res.Header)
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	h := handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		res := msgtest.Text("hello")
		res.Header.Add("content-length", "5")
		_, _ = w.WriteResponse(res)
	})
	res, err := stdClient(t, http2.ServerOptions{}, h).Head("http://shop/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ContentLength != 5 {
		t.Errorf("content-length %d", res.ContentLength)
	}
	up := stdServer(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "5") })
	r := get("/")
	r.Method = "HEAD"
	if a := mustDo(t, up, r); a.body != "" || a.header.Value("content-length") != "5" {
		t.Errorf("got %+v", a)
	}
}

// grpcHop is grpc-go's client and server with a hop of ours between them.
func grpcHop(t *testing.T) *grpc.ClientConn {
	t.Helper()
	near, far := msgtest.Pipe(t)
	srv := grpc.NewServer()
	hs := health.NewServer()
	hs.SetServingStatus("shop", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(srv, hs)
	l := &oneListener{conns: make(chan net.Conn, 1), over: make(chan struct{})}
	l.conns <- near
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	up := http2.NewClientConn(far, http2.ClientOptions{})
	t.Cleanup(func() {
		up.Close()
		srv.Stop()
		<-done
	})
	_, down, _ := serve(t, http2.ServerOptions{}, forward(up))
	cc, err := grpc.NewClient("passthrough:shop", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return down, nil }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// oneListener hands out connections that exist.
type oneListener struct {
	conns chan net.Conn
	over  chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *oneListener) Close() error {
	close(l.over)
	return nil
}
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestGRPCThroughAHop(t *testing.T) {
	c := healthpb.NewHealthClient(grpcHop(t))
	for range 20 {
		var trailer metadata.MD
		r, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "shop"}, grpc.Trailer(&trailer))
		if err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("got %v, %v", r, err)
		}
	}
	_, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "none"})
	if status.Code(err).String() != "NotFound" {
		t.Errorf("got %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	w, err := c.Watch(ctx, &healthpb.HealthCheckRequest{Service: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v", r, err)
	}
	stop()
	if _, err := w.Recv(); status.Code(err).String() != "Canceled" {
		t.Errorf("got %v", err)
	}
}
