package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// pipes dials in-memory connections to a peer that answers 200 after delay, and
// counts those that are open.
type pipes struct {
	connect time.Duration // how long a dial takes
	answer  time.Duration // how long a response takes
	dialled atomic.Int64
	open    atomic.Int64
}

func (p *pipes) dial(ctx context.Context, _ netip.Addr, _ netip.AddrPort, _ upstream.KeepAlive) (net.Conn, error) {
	p.dialled.Add(1)
	if err := pause(ctx, p.connect); err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	p.open.Add(1)
	go p.serve(theirs)
	return ours, nil
}

func (p *pipes) serve(conn net.Conn) {
	defer p.open.Add(-1)
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		time.Sleep(p.answer)
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// pause sleeps until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cluster publishes a cluster over pipes, inside a synctest bubble.
func (p *pipes) cluster(t *testing.T, spec *upstream.Spec) (*upstream.Cluster, *lb.Endpoint) {
	t.Helper()
	c := upstream.New("bubble", upstream.Options{Dial: p.dial})
	c.Publish(spec, lb.NewSet(nil, []lb.EndpointSpec{{Addr: somewhere}}, spec.Policy))
	return c, pick(t, c)
}

var somewhere = netip.MustParseAddrPort("192.0.2.1:80")

func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		spec := &upstream.Spec{}
		spec.HTTP.IdleTimeout = 10 * time.Second
		c, e := p.cluster(t, spec)
		a, b := open(t, c, e), open(t, c, e)
		a.Close()
		time.Sleep(6 * time.Second)
		b.Close()
		time.Sleep(4*time.Second + time.Millisecond)
		synctest.Wait()
		if got := p.open.Load(); got != 1 {
			t.Errorf("after 10 s: %d connections, want 1", got)
		}
		exchange(t, c, e) // begins the second's idle time anew
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if got := p.open.Load(); got != 1 {
			t.Errorf("9 s after its use: %d connections, want 1", got)
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := p.open.Load(); got != 0 {
			t.Errorf("after its idle time: %d connections, want none", got)
		}
		if got := c.Stats().CxIdleTimeout.Load(); got != 2 {
			t.Errorf("counted %d idle time-outs, want 2", got)
		}
		atRest(t, c)
	})
}

func TestShorterIdleTimeoutTakesEffect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{}) // an hour
		exchange(t, c, e)
		shorter := &upstream.Spec{}
		shorter.HTTP.IdleTimeout = time.Second
		c.Publish(shorter, c.Endpoints())
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := p.open.Load(); got != 0 {
			t.Errorf("%d connections, want none", got)
		}
		atRest(t, c)
	})
}

func TestOldConnectionIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		spec := &upstream.Spec{}
		spec.HTTP.MaxConnDuration = time.Minute
		c, e := p.cluster(t, spec)
		exchange(t, c, e)
		time.Sleep(59 * time.Second)
		if _, reused := exchange(t, c, e); !reused {
			t.Error("the connection is not too old yet")
		}
		time.Sleep(time.Second)
		if _, reused := exchange(t, c, e); reused {
			t.Error("the connection was used for longer than a minute")
		}
		atRest(t, c)
	})
}

func TestConnectTimeoutCoversTheDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{connect: time.Minute}
		c, e := p.cluster(t, &upstream.Spec{ConnectTimeout: 3 * time.Second})
		begin := time.Now()
		_, err := c.Open(t.Context(), e, nil)
		wantFlow(t, err, flow.Error{
			Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindConnectTimeout, Retry: flow.RetryUnsent,
		})
		if got := time.Since(begin); got != 3*time.Second {
			t.Errorf("took %v, want 3s", got)
		}
		if got := c.Stats().CxConnectTimeout.Load(); got != 1 {
			t.Errorf("counted %d time-outs, want 1", got)
		}
		atRest(t, c)
	})
}

func TestWhyTheCallerGaveUp(t *testing.T) {
	t.Parallel()
	perTry := &flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Details: "upstream_per_try_timeout"}
	tests := map[string]struct {
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want flow.Error
	}{
		"downstream left": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Second, cancel)
				return ctx, cancel
			},
			flow.Error{Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled},
		},
		"time ran out": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			},
			flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryUnsent},
		},
		"the caller says so": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeoutCause(ctx, time.Second, perTry)
			},
			*perTry,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{connect: time.Minute}
				c, e := p.cluster(t, &upstream.Spec{})
				ctx, cancel := tt.ctx(t.Context())
				defer cancel()
				_, err := c.Open(ctx, e, nil)
				wantFlow(t, err, tt.want)
				if got := c.Stats().CxConnectFail.Load(); got != 0 {
					t.Errorf("counted %d failures of the upstream, want none", got)
				}
				atRest(t, c)
			})
		})
	}
}

func TestConnectionLimitQueues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{answer: time.Second}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Connections: 2}})
		begin := time.Now()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { exchange(t, c, e) })
		}
		synctest.Wait()
		if got := c.Stats().Requests.PendingActive.Load(); got != 4 {
			t.Errorf("%d requests are pending, want 4", got)
		}
		wg.Wait()
		if got := time.Since(begin); got != 3*time.Second {
			t.Errorf("six requests over two connections took %v, want 3s", got)
		}
		if got := p.dialled.Load(); got != 2 {
			t.Errorf("%d connections, want 2", got)
		}
		if got := c.Stats().CxOverflow.Load(); got != 4 {
			t.Errorf("%d overflows, want 4", got)
		}
		atRest(t, c)
	})
}

func TestWaiterOpensWhenAConnectionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{answer: time.Second}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Connections: 1}})
		s := open(t, c, e)
		if _, err := s.RoundTrip(request(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() {
			_, reused := exchange(t, c, e)
			done <- reused
		}()
		synctest.Wait()
		s.Close() // with the body unread: the connection cannot be used again
		if <-done {
			t.Error("the broken connection was used again")
		}
		atRest(t, c)
	})
}

func TestEndpointWithoutConnectionMayPassTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c := upstream.New("two", upstream.Options{Dial: p.dial})
		c.Publish(&upstream.Spec{Limits: upstream.Limits{Connections: 1}}, lb.NewSet(nil, []lb.EndpointSpec{
			{Addr: somewhere}, {Addr: netip.MustParseAddrPort("192.0.2.2:80")},
		}, lb.Policy{}))
		a, b := open(t, c, c.Endpoints().Endpoints()[0]), open(t, c, c.Endpoints().Endpoints()[1])
		a.Close()
		b.Close()
		atRest(t, c)
	})
}

func TestLimitsOverflow(t *testing.T) {
	t.Parallel()
	want := flow.Error{Side: flow.SideInternal, Flag: flow.UpstreamOverflow, Kind: flow.KindOverflow}
	for name, limits := range map[string]upstream.Limits{
		"requests": {Requests: 1},
		"pending":  {Connections: 1, Pending: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{answer: time.Second}
				c, e := p.cluster(t, &upstream.Spec{Limits: limits})
				s := open(t, c, e)
				var wg sync.WaitGroup
				if limits.Pending > 0 {
					wg.Go(func() { exchange(t, c, e) }) // takes the only place in the queue
					synctest.Wait()
				}
				_, err := c.Open(t.Context(), e, nil)
				wantFlow(t, err, want)
				if !errors.Is(err, upstream.ErrOverflow) {
					t.Errorf("got %v, want ErrOverflow", err)
				}
				if got := c.Stats().Requests.PendingOverflow.Load(); got != 1 {
					t.Errorf("counted %d overflows, want 1", got)
				}
				s.Close()
				wg.Wait()
				exchange(t, c, e)
				atRest(t, c)
			})
		})
	}
}

func TestTCPConnectionLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Connections: 1}})
		conn, err := c.Dial(t.Context(), e, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Dial(t.Context(), e, nil)
		wantFlow(t, err, flow.Error{Side: flow.SideInternal, Flag: flow.UpstreamOverflow, Kind: flow.KindOverflow})
		if got := e.Active(); got != 1 {
			t.Errorf("%d active, want 1", got)
		}
		conn.Done()
		conn.Done()
		if got := e.Active(); got != 0 {
			t.Errorf("%d active, want 0", got)
		}
		atRest(t, c)
	})
}

func TestRetryLimit(t *testing.T) {
	t.Parallel()
	c := upstream.New("retries", upstream.Options{})
	c.Publish(&upstream.Spec{Limits: upstream.Limits{Retries: 1}}, nil)
	if !c.AcquireRetry() || c.AcquireRetry() {
		t.Error("want one retry at a time")
	}
	c.ReleaseRetry()
	if !c.AcquireRetry() {
		t.Error("want a retry again")
	}
	c.ReleaseRetry()
}

func TestWaiterGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Connections: 1}})
		s := open(t, c, e)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Open(ctx, e, nil)
		wantFlow(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryUnsent})
		s.Close()
		if _, reused := exchange(t, c, e); p.dialled.Load() != 1 {
			t.Errorf("the place of the one who gave up was lost (reused %v)", reused)
		}
		atRest(t, c)
	})
}

func TestFill(t *testing.T) {
	t.Parallel()
	unknown := errors.New("no such resource")
	nc := &flow.Error{Side: flow.SideInternal, Flag: flow.NoClusterFound, Kind: flow.KindNoCluster}
	tests := map[string]struct {
		fill func(context.Context, *upstream.Cluster) error
		want *flow.Error
		took time.Duration
	}{
		"filled": {fill: func(_ context.Context, c *upstream.Cluster) error {
			time.Sleep(time.Second)
			c.Publish(&upstream.Spec{}, nil)
			return nil
		}, took: time.Second},
		"unknown": {fill: func(context.Context, *upstream.Cluster) error {
			time.Sleep(time.Second)
			return unknown
		}, want: nc, took: time.Second},
		"not published": {fill: func(context.Context, *upstream.Cluster) error { return nil }, want: nc},
		"too slow": {fill: func(ctx context.Context, _ *upstream.Cluster) error {
			<-ctx.Done()
			return ctx.Err()
		}, want: nc, took: 2 * time.Second},
		"nobody to ask": {want: nc},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := upstream.New("later", upstream.Options{Fill: tt.fill, FillTimeout: 2 * time.Second})
				if _, err := c.Pick(&lb.Hint{}); err == nil {
					t.Error("an empty cluster picked an endpoint")
				}
				begin := time.Now()
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						err := c.Ensure(t.Context())
						switch {
						case tt.want != nil:
							wantFlow(t, err, *tt.want)
						case err != nil:
							t.Errorf("ensure: %v", err)
						}
					})
				}
				wg.Wait()
				if got := time.Since(begin); got != tt.took {
					t.Errorf("took %v, want %v", got, tt.took)
				}
				if got := c.Stats().Fills.Load(); tt.took > 0 && got != 1 {
					t.Errorf("filled %d times for 50 who waited, want once", got)
				}
				atRest(t, c)
			})
		})
	}
}

func TestFillOutlivesTheOneWhoBeganIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := upstream.New("later", upstream.Options{Fill: func(ctx context.Context, c *upstream.Cluster) error {
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
			c.Publish(&upstream.Spec{}, nil)
			return nil
		}})
		first, leave := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Ensure(first) }()
		synctest.Wait()
		second := make(chan error)
		go func() { second <- c.Ensure(t.Context()) }()
		leave()
		wantFlow(t, <-done, flow.Error{Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled})
		if err := <-second; err != nil {
			t.Errorf("the second was let down with the first: %v", err)
		}
		atRest(t, c)
	})
}

func TestCloseEndsAFill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := upstream.New("later", upstream.Options{FillTimeout: time.Hour, Fill: func(ctx context.Context, _ *upstream.Cluster) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		done := make(chan error)
		go func() { done <- c.Ensure(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.Close(ctx)
		if err := <-done; err == nil {
			t.Error("a closed cluster was filled")
		}
	})
}

func TestOriginalDst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c := upstream.New("PassthroughCluster", upstream.Options{Dial: p.dial})
		c.Publish(&upstream.Spec{Kind: upstream.OriginalDst, CleanupInterval: 10 * time.Second}, nil)
		_, err := c.Pick(&lb.Hint{})
		wantFlow(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.NoHealthyUpstream, Kind: flow.KindNoEndpoint})
		visit := func(to string) *lb.Endpoint {
			e, err := c.Pick(&lb.Hint{OrigDst: netip.MustParseAddrPort(to)})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		a, b := visit("10.0.0.1:80"), visit("10.0.0.2:80")
		if a == b || a != visit("10.0.0.1:80") || b != visit("10.0.0.2:80") {
			t.Fatal("one address, one endpoint")
		}
		exchange(t, c, a)
		exchange(t, c, b)
		busy := open(t, c, visit("10.0.0.3:80"))
		time.Sleep(11 * time.Second) // the first sweep finds all used
		synctest.Wait()
		if got := len(c.OnDemand()); got != 3 {
			t.Errorf("%d endpoints, want 3", got)
		}
		if visit("10.0.0.1:80") != a {
			t.Error("an endpoint in use was forgotten")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got, open := len(c.OnDemand()), p.open.Load(); got != 2 || open != 2 {
			t.Errorf("%d endpoints, %d connections; want the used and the busy one", got, open)
		}
		busy.Close()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got, open := len(c.OnDemand()), p.open.Load(); got != 0 || open != 0 {
			t.Errorf("%d endpoints, %d connections; want none", got, open)
		}
		if visit("10.0.0.1:80") == a {
			t.Error("a forgotten endpoint came back")
		}
		atRest(t, c)
	})
}

func TestOriginalDstTableIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c := upstream.New("PassthroughCluster", upstream.Options{Dial: p.dial})
		c.Publish(&upstream.Spec{Kind: upstream.OriginalDst}, nil)
		var last *lb.Endpoint
		for i := range 10000 {
			e, err := c.Pick(&lb.Hint{OrigDst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)})
			if err != nil {
				t.Fatal(err)
			}
			last = e
		}
		if got := len(c.OnDemand()); got != 8192 {
			t.Errorf("%d endpoints, want 8192", got)
		}
		exchange(t, c, last) // works, without being kept
		synctest.Wait()
		if got := p.open.Load(); got != 0 {
			t.Errorf("%d connections are kept, want none", got)
		}
		atRest(t, c)
	})
}
