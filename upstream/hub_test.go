package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// newPeer2 starts a server that speaks HTTP/2 in plain text and allows so many
// streams on a connection.
func newPeer2(t *testing.T, streams int, handler http.HandlerFunc) *peer {
	t.Helper()
	return newPeerWith(t, handler, func(s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetUnencryptedHTTP2(true)
		s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
	})
}

func speakHTTP2(s *upstream.Spec) { s.HTTP.Protocol = upstream.HTTP2 }

// gate is a handler that answers when it is opened.
type gate struct {
	open    chan struct{}
	arrived chan string // the connection of each request
	free    atomic.Bool // the next request passes
}

func newGate() *gate { return &gate{open: make(chan struct{}), arrived: make(chan string, 1000)} }

func (g *gate) handle(w http.ResponseWriter, r *http.Request) {
	if g.free.CompareAndSwap(true, false) {
		return
	}
	g.arrived <- r.RemoteAddr
	select {
	case <-g.open:
		_, _ = io.WriteString(w, r.RemoteAddr)
	case <-r.Context().Done():
	}
}

// await waits for n requests and tells how many came on each connection.
func (g *gate) await(t *testing.T, n int) map[string]int {
	t.Helper()
	got := make(map[string]int)
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for i := range n {
		select {
		case addr := <-g.arrived:
			got[addr]++
		case <-limit.C:
			t.Fatalf("%d of %d requests arrived: %v", i, n, got)
		}
	}
	return got
}

// crowd runs n exchanges at once and waits for them at the end of the test, or when
// its result is called. It tells how each ended.
func crowd(t *testing.T, c *upstream.Cluster, n int) func() []error {
	t.Helper()
	e := pick(t, c)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			errs[i] = func() error {
				s, err := c.Open(t.Context(), e, nil)
				if err != nil {
					return err
				}
				defer s.Close()
				res, err := s.RoundTrip(request(), time.Now().Add(time.Minute))
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, res.Body)
				return err
			}()
		})
	}
	return func() []error {
		wg.Wait()
		return errs
	}
}

func wantNoErrors(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Errorf("exchange %d: %v", i, err)
		}
	}
}

func TestStreamsShareOneConnection(t *testing.T) {
	t.Parallel()
	g := newGate()
	p := newPeer2(t, 200, g.handle)
	c := newCluster(t, speakHTTP2, p.addr())
	wait := crowd(t, c, 50)
	if got := g.await(t, 50); len(got) != 1 {
		t.Errorf("got %v, want one connection", got)
	}
	close(g.open)
	wantNoErrors(t, wait())
	if got := c.Stats().CxTotal.Load(); got != 1 {
		t.Errorf("made %d connections", got)
	}
	if got := c.Stats().Requests.Total.Load(); got != 50 {
		t.Errorf("counted %d requests", got)
	}
}

func TestFullConnectionGetsACompanion(t *testing.T) {
	t.Parallel()
	g := newGate()
	p := newPeer2(t, 10, g.handle)
	c := newCluster(t, speakHTTP2, p.addr())
	g.meet(t, c)
	first := crowd(t, c, 10)
	g.await(t, 10)
	wait := crowd(t, c, 15)
	if got := g.await(t, 15); len(got) < 2 {
		t.Errorf("got %v, want three connections", got)
	}
	close(g.open)
	wantNoErrors(t, first())
	wantNoErrors(t, wait())
	if got := p.accepted.Load(); got != 3 {
		t.Errorf("made %d connections, want 3", got)
	}
}

// meet runs one exchange, after which the upstream's limit is known.
func (g *gate) meet(t *testing.T, c *upstream.Cluster) {
	t.Helper()
	g.free.Store(true)
	exchange(t, c, pick(t, c))
}

func TestFullConnectionsMakeRequestsWait(t *testing.T) {
	t.Parallel()
	g := newGate()
	p := newPeer2(t, 5, g.handle)
	c := newCluster(t, func(s *upstream.Spec) {
		speakHTTP2(s)
		s.Limits.Connections = 1
	}, p.addr())
	g.meet(t, c)
	wait := crowd(t, c, 12)
	g.await(t, 5)
	eventually(t, "seven wait", func() bool { return c.Stats().Requests.PendingActive.Load() == 7 })
	close(g.open)
	wantNoErrors(t, wait())
	if got := p.accepted.Load(); got != 1 {
		t.Errorf("made %d connections, want 1", got)
	}
}

func TestConnectionThatServedEnoughIsReplaced(t *testing.T) {
	t.Parallel()
	p := newPeer2(t, 100, nil)
	c := newCluster(t, func(s *upstream.Spec) {
		speakHTTP2(s)
		s.HTTP.MaxRequestsPerConn = 3
	}, p.addr())
	e := pick(t, c)
	seen := make(map[string]int)
	for range 9 {
		addr, _ := exchange(t, c, e)
		seen[addr]++
	}
	if len(seen) != 3 {
		t.Errorf("got %v, want three connections of three requests", seen)
	}
	if got := c.Stats().CxMaxRequests.Load(); got != 3 {
		t.Errorf("counted %d", got)
	}
}

func TestIdleSharedConnectionEnds(t *testing.T) {
	t.Parallel()
	p := newPeer2(t, 100, nil)
	c := newCluster(t, func(s *upstream.Spec) {
		speakHTTP2(s)
		s.HTTP.IdleTimeout = 50 * time.Millisecond
	}, p.addr())
	exchange(t, c, pick(t, c))
	eventually(t, "the idle connection ends", func() bool { return c.Stats().CxActive.Load() == 0 })
	if got := c.Stats().CxIdleTimeout.Load(); got != 1 {
		t.Errorf("counted %d", got)
	}
	exchange(t, c, pick(t, c))
}

func TestOldSharedConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	p := newPeer2(t, 100, nil)
	c := newCluster(t, func(s *upstream.Spec) {
		speakHTTP2(s)
		s.HTTP.MaxConnDuration = 100 * time.Millisecond
	}, p.addr())
	first, _ := exchange(t, c, pick(t, c))
	eventually(t, "another connection serves", func() bool {
		now, _ := exchange(t, c, pick(t, c))
		return now != first
	})
}

func TestRefusedConnectionFailsAllWhoWait(t *testing.T) {
	t.Parallel()
	p := newPeer2(t, 100, nil)
	c := newCluster(t, speakHTTP2, p.addr())
	p.Close()
	for _, err := range crowd(t, c, 10)() {
		wantFlow(t, err, flow.Error{
			Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindConnectFailure, Retry: flow.RetryUnsent,
		})
	}
}

func TestLostConnectionFailsItsStreams(t *testing.T) {
	t.Parallel()
	g := newGate()
	p := newPeer2(t, 100, g.handle)
	c := newCluster(t, speakHTTP2, p.addr())
	wait := crowd(t, c, 10)
	g.await(t, 10)
	p.CloseClientConnections()
	for _, err := range wait() {
		wantFlow(t, err, flow.Error{
			Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination, Retry: flow.RetryUnanswered,
		})
	}
	close(g.open)
	exchange(t, c, pick(t, c))
}

func TestRetiredHubFinishesItsStreams(t *testing.T) {
	t.Parallel()
	g := newGate()
	p := newPeer2(t, 100, g.handle)
	c := newCluster(t, speakHTTP2, p.addr())
	wait := crowd(t, c, 10)
	g.await(t, 10)
	c.PublishEndpoints(lb.NewSet(c.Endpoints(), nil, lb.Policy{}))
	close(g.open)
	wantNoErrors(t, wait())
	eventually(t, "the connection ends with its streams", func() bool { return c.Stats().CxActive.Load() == 0 })
}

func TestOtherSettingsMakeOtherConnections(t *testing.T) {
	t.Parallel()
	p := newPeer2(t, 100, nil)
	c := newCluster(t, speakHTTP2, p.addr())
	first, _ := exchange(t, c, pick(t, c))
	spec := *c.Spec()
	c.Publish(&spec, c.Endpoints())
	if got, _ := exchange(t, c, pick(t, c)); got != first {
		t.Error("equal settings made another connection")
	}
	other := *c.Spec()
	other.HTTP.HTTP2 = http2.Settings{InitialStreamWindow: 1 << 20}
	c.Publish(&other, c.Endpoints())
	if got, _ := exchange(t, c, pick(t, c)); got == first {
		t.Error("a connection with other settings was used")
	}
}

func TestClusterFollowsItsDownstream(t *testing.T) {
	t.Parallel()
	p := newPeerWith(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }, func(s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
	})
	c := newCluster(t, func(s *upstream.Spec) { s.HTTP.Protocol = upstream.AsDownstream }, p.addr())
	for _, tc := range []struct {
		o    *upstream.OpenOptions
		want string
	}{
		{nil, "HTTP/1.1"},
		{&upstream.OpenOptions{Downstream: upstream.HTTP1}, "HTTP/1.1"},
		{&upstream.OpenOptions{Downstream: upstream.HTTP2}, "HTTP/2.0"},
	} {
		s, err := c.Open(t.Context(), pick(t, c), tc.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := talk(t, s); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
		s.Close()
	}
}

func TestSharedConnectionUnderChange(t *testing.T) {
	t.Parallel()
	p := newPeer2(t, 100, nil)
	c := newCluster(t, func(s *upstream.Spec) {
		speakHTTP2(s)
		s.HTTP.MaxRequestsPerConn = 50
		s.Limits.Connections = 3
	}, p.addr())
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for n := uint32(0); ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			spec := *c.Spec()
			spec.HTTP.HTTP2.MaxConcurrentStreams = 100 + n%2
			c.Publish(&spec, c.Endpoints())
		}
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				s, err := c.Open(t.Context(), c.Endpoints().Endpoints()[0], nil)
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				res, err := s.RoundTrip(request(), time.Now().Add(time.Minute))
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
				}
				s.Close()
				if err != nil {
					t.Error(fmt.Errorf("exchange: %w", err))
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	publishing.Wait()
}
