package upstream_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// peer is an HTTP server that counts its connections.
type peer struct {
	*httptest.Server
	accepted atomic.Int64
	open     atomic.Int64
}

// newPeer starts a server that answers with the address it sees, or with handler.
func newPeer(t *testing.T, handler http.HandlerFunc) *peer {
	t.Helper()
	return newPeerWith(t, handler, func(*http.Server) {})
}

func newPeerWith(t *testing.T, handler http.HandlerFunc, edit func(*http.Server)) *peer {
	t.Helper()
	if handler == nil {
		handler = func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }
	}
	p := &peer{Server: httptest.NewUnstartedServer(handler)}
	p.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			p.accepted.Add(1)
			p.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			p.open.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
	edit(p.Config)
	p.Start()
	t.Cleanup(p.Close)
	return p
}

func (p *peer) addr() netip.AddrPort {
	return netip.MustParseAddrPort(p.Listener.Addr().String())
}

// newCluster publishes a cluster with the endpoints, and checks at the end that it
// comes to rest.
func newCluster(t *testing.T, edit func(*upstream.Spec), addrs ...netip.AddrPort) *upstream.Cluster {
	t.Helper()
	reaper := upstream.NewReaper()
	c := upstream.New("outbound|80||shop", upstream.Options{Reaper: reaper})
	t.Cleanup(func() {
		atRest(t, c)
		if err := reaper.Close(); err != nil {
			t.Errorf("close reaper: %v", err)
		}
	})
	spec := &upstream.Spec{Name: c.Name(), ConnectTimeout: time.Minute}
	if edit != nil {
		edit(spec)
	}
	c.Publish(spec, lb.NewSet(nil, specsOf(addrs), spec.Policy))
	return c
}

// dialling is a cluster without a reaper that tells what it has dialled.
func dialling(t *testing.T) (*upstream.Cluster, <-chan net.Conn) {
	t.Helper()
	dialled := make(chan net.Conn, 10)
	c := upstream.New("no reaper", upstream.Options{
		Dial: func(ctx context.Context, from netip.Addr, to netip.AddrPort, ka upstream.KeepAlive) (net.Conn, error) {
			conn, err := upstream.Dial(ctx, from, to, ka)
			dialled <- conn
			return conn, err
		},
	})
	t.Cleanup(func() { atRest(t, c) })
	return c, dialled
}

func specsOf(addrs []netip.AddrPort) []lb.EndpointSpec {
	specs := make([]lb.EndpointSpec, len(addrs))
	for i, a := range addrs {
		specs[i].Addr = a
	}
	return specs
}

// atRest closes the cluster and checks that nothing is counted as active.
func atRest(t *testing.T, c *upstream.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.Close(ctx)
	if ctx.Err() != nil {
		t.Error("the cluster did not come to rest by itself")
	}
	c.Stats().Each(func(name string, value uint64, gauge bool) {
		if gauge && value != 0 {
			t.Errorf("%s is %d at the end", name, value)
		}
	})
	for _, e := range c.Endpoints().Endpoints() {
		if e.Active() != 0 {
			t.Errorf("endpoint %v has %d active at the end", e.Addr(), e.Active())
		}
	}
}

func pick(t *testing.T, c *upstream.Cluster) *lb.Endpoint {
	t.Helper()
	e, err := c.Pick(&lb.Hint{})
	if err != nil {
		t.Fatalf("pick: %v", err)
	}
	return e
}

func open(t *testing.T, c *upstream.Cluster, e *lb.Endpoint) *upstream.Stream {
	t.Helper()
	s, err := c.Open(t.Context(), e, nil)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func request() *httpmsg.Request {
	return &httpmsg.Request{Method: "GET", Scheme: "http", Authority: "shop", Path: "/", Body: httpmsg.NoBody}
}

// talk runs a whole exchange on the stream and returns the body.
func talk(t *testing.T, s *upstream.Stream) string {
	t.Helper()
	res, err := s.RoundTrip(request(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatalf("round trip: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	_ = res.Body.Close()
	return string(body)
}

// exchange opens, talks and closes.
func exchange(t *testing.T, c *upstream.Cluster, e *lb.Endpoint) (body string, reused bool) {
	t.Helper()
	s := open(t, c, e)
	defer s.Close()
	return talk(t, s), s.Reused()
}

// wantFlow checks an error's facts.
func wantFlow(t *testing.T, err error, want flow.Error) {
	t.Helper()
	got, ok := flow.AsError(err)
	if !ok {
		t.Fatalf("got %v, want a flow error", err)
	}
	if got.Side != want.Side || got.Flag != want.Flag || got.Kind != want.Kind || got.Retry != want.Retry {
		t.Errorf("got side %v flag %v kind %d retry %d (%v), want %v %v %d %d",
			got.Side, got.Flag, got.Kind, got.Retry, err, want.Side, want.Flag, want.Kind, want.Retry)
	}
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func addrsOf(peers ...*peer) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(peers))
	for i, p := range peers {
		addrs[i] = p.addr()
	}
	return addrs
}
