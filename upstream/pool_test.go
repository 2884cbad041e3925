package upstream_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/sock/socktest"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestConnectionIsUsedAgain(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	first, reused := exchange(t, c, e)
	if reused {
		t.Error("the first exchange claims to have a used connection")
	}
	for range 5 {
		if got, reused := exchange(t, c, e); got != first || !reused {
			t.Errorf("got %s (reused %v), want the connection from %s again", got, reused, first)
		}
	}
	if got := p.accepted.Load(); got != 1 {
		t.Errorf("got %d connections, want 1", got)
	}
}

func TestConnectionUsedLastIsUsedNext(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	a, b := open(t, c, e), open(t, c, e)
	talk(t, a)
	want := talk(t, b)
	a.Close()
	b.Close()
	if got, _ := exchange(t, c, e); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnfinishedExchangeEndsItsConnection(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	s := open(t, c, e)
	if _, err := s.RoundTrip(request(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.Close() // the body was not read
	s.Close()
	if _, reused := exchange(t, c, e); reused {
		t.Error("a connection with half a response on it was used again")
	}
}

func TestReaperClosesWhatThePeerClosed(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	exchange(t, c, e)
	p.CloseClientConnections()
	eventually(t, "the reaper closes the connection", func() bool { return c.Stats().CxActive.Load() == 0 })
	if _, reused := exchange(t, c, e); reused {
		t.Error("a dead connection was used")
	}
}

func TestDeadConnectionIsFoundAtCheckOut(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c, dialled := dialling(t)
	c.Publish(&upstream.Spec{}, lb.NewSet(nil, specsOf(addrsOf(p)), lb.Policy{}))
	e := pick(t, c)
	a, b := open(t, c, e), open(t, c, e)
	talk(t, a)
	talk(t, b)
	a.Close()
	b.Close()
	p.CloseClientConnections()
	for range 2 {
		conn := <-dialled
		eventually(t, "the peer's end has arrived", func() bool { return socktest.Ended(t, conn) })
	}
	if _, reused := exchange(t, c, e); reused {
		t.Error("a dead connection was used")
	}
	if got := c.Stats().Stale.Found.Load(); got != 2 {
		t.Errorf("got %d dead connections, want 2", got)
	}
}

func TestMaxRequestsPerConnection(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, func(s *upstream.Spec) { s.HTTP.MaxRequestsPerConn = 2 }, p.addr())
	e := pick(t, c)
	for range 6 {
		exchange(t, c, e)
	}
	if got := p.accepted.Load(); got != 3 {
		t.Errorf("6 requests took %d connections, want 3", got)
	}
}

// blocking answers requests when it is let.
func blocking(t *testing.T) (p *peer, let func()) {
	t.Helper()
	gate := make(chan struct{})
	p = newPeer(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "ok")
	})
	return p, sync.OnceFunc(func() { close(gate) })
}

func TestRemovedEndpointFinishesWhatItHas(t *testing.T) {
	t.Parallel()
	p, let := blocking(t)
	defer let()
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	s := open(t, c, e)
	idle := open(t, c, e)
	done := make(chan string, 1)
	go func() { done <- talk(t, s) }()
	other := newPeer(t, nil)
	// The second connection has not been used and can go back to the pool.
	idle.Close()
	c.PublishEndpoints(lb.NewSet(c.Endpoints(), specsOf(addrsOf(other)), lb.Policy{}))
	eventually(t, "the idle connection closes", func() bool { return c.Stats().CxActive.Load() == 1 })
	let()
	if got := <-done; got != "ok" {
		t.Errorf("got %q", got)
	}
	s.Close()
	eventually(t, "the other closes when it is done", func() bool { return c.Stats().CxActive.Load() == 0 })
	if pick(t, c).Addr() != other.addr() {
		t.Error("the new endpoint is not used")
	}
}

func TestEndpointUpdateKeepsConnections(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	exchange(t, c, e)
	specs := append(specsOf(addrsOf(newPeer(t, nil))), specsOf(addrsOf(p))...)
	specs[1].Weight, specs[1].Health = 9, lb.Draining
	c.PublishEndpoints(lb.NewSet(c.Endpoints(), specs, lb.Policy{}))
	if _, reused := exchange(t, c, e); !reused {
		t.Error("a changed weight cost the connection")
	}
	c.Publish(&upstream.Spec{ConnectTimeout: time.Minute}, c.Endpoints())
	if _, reused := exchange(t, c, e); !reused {
		t.Error("a spec that changes no socket cost the connection")
	}
}

func TestRemovedClusterRefuses(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	s := open(t, c, e)
	c.Remove()
	want := flow.Error{Side: flow.SideInternal, Flag: flow.NoClusterFound, Kind: flow.KindNoCluster}
	_, err := c.Pick(&lb.Hint{})
	wantFlow(t, err, want)
	_, err = c.Open(t.Context(), e, nil)
	wantFlow(t, err, want)
	_, err = c.Dial(t.Context(), e, nil)
	wantFlow(t, err, want)
	wantFlow(t, c.Ensure(t.Context()), want)
	talk(t, s)
	s.Close()
	if got := c.Stats().CxActive.Load(); got != 0 {
		t.Errorf("%d connections of a removed cluster are open", got)
	}
	c.Publish(&upstream.Spec{}, lb.NewSet(nil, specsOf(addrsOf(p)), lb.Policy{}))
	exchange(t, c, pick(t, c))
}

func TestCloseWaitsAndThenCutsShort(t *testing.T) {
	t.Parallel()
	p, let := blocking(t)
	defer let()
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	s := open(t, c, e)
	tcp, err := c.Dial(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := s.RoundTrip(request(), time.Time{})
		s.Close()
		failed <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.Close(ctx)
	if ctx.Err() == nil {
		t.Error("close did not wait for what was under way")
	}
	wantFlow(t, <-failed, flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Retry: flow.RetryUnsent})
	if _, err := tcp.Write([]byte("x")); err == nil {
		t.Error("the TCP connection is still open")
	}
	tcp.Done()
	_, err = c.Open(t.Context(), e, nil)
	wantFlow(t, err, flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Retry: flow.RetryUnsent})
}

// TestIdleConnectionsCostNoGoroutine runs alone, since it counts.
func TestIdleConnectionsCostNoGoroutine(t *testing.T) { //nolint:paralleltest // counts goroutines
	const n = 100
	c := newCluster(t, nil, silent(t))
	e := pick(t, c)
	before := runtime.NumGoroutine()
	streams := make([]*upstream.Stream, n)
	for i := range streams {
		streams[i] = open(t, c, e)
	}
	for _, s := range streams {
		s.Close()
	}
	if got := c.Stats().CxActive.Load(); got != n {
		t.Fatalf("%d connections, want %d", got, n)
	}
	eventually(t, "idle connections cost the reaper's goroutine only", func() bool { return runtime.NumGoroutine()-before <= 1 })
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p, q := newPeer(t, nil), newPeer(t, nil)
	c := newCluster(t, func(s *upstream.Spec) { s.Limits.Connections = 6 }, p.addr(), q.addr())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				e, err := c.Pick(&lb.Hint{})
				if err != nil {
					t.Error(err)
					return
				}
				s, err := c.Open(t.Context(), e, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if res, err := s.RoundTrip(request(), time.Now().Add(time.Minute)); err == nil {
					_, _ = io.Copy(io.Discard, res.Body) // cut short by the peer now and then
				}
				s.Close()
			}
		})
	}
	for i := range 50 {
		specs := specsOf(addrsOf(p, q))
		specs[i%2].Weight = uint32(i%5 + 1)
		c.PublishEndpoints(lb.NewSet(c.Endpoints(), specs, lb.Policy{}))
		if i%10 == 0 {
			c.Publish(&upstream.Spec{Limits: upstream.Limits{Connections: 6}}, c.Endpoints())
			p.CloseClientConnections()
		}
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
}
