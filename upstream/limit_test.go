package upstream_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

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
		if got := c.Stats().CxOverflow.Load(); got != 7 { // and one more when one who waited had its turn and others wait on
			t.Errorf("%d overflows, want 7", got)
		}
		atRest(t, c)
	})
}

func TestLoweredConnectionLimitHoldsForPooledConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{answer: time.Second}
		spec := upstream.Spec{Limits: upstream.Limits{Connections: 8}}
		c, e := p.cluster(t, &spec)
		run := func(n int) time.Duration {
			begin := time.Now()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { exchange(t, c, e) })
			}
			wg.Wait()
			return time.Since(begin)
		}
		if got := run(4); got != time.Second {
			t.Fatalf("four requests over up to eight connections took %v", got)
		}
		lowered := *c.Spec()
		lowered.Limits.Connections = 1
		c.Publish(&lowered, c.Endpoints())
		if got := run(4); got != 4*time.Second {
			t.Errorf("four requests over one connection took %v, want 4s", got)
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
				if got := c.Stats().Requests.PendingOverflow.Load() + c.Stats().Requests.ActiveOverflow.Load(); got != 1 {
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
	if !c.AcquireRetry(upstream.DefaultPriority) || c.AcquireRetry(upstream.DefaultPriority) {
		t.Error("want one retry at a time")
	}
	c.ReleaseRetry(upstream.DefaultPriority)
	if !c.AcquireRetry(upstream.DefaultPriority) {
		t.Error("want a retry again")
	}
	c.ReleaseRetry(upstream.DefaultPriority)
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
		if got := stat(c, "circuit_breakers.default.cx_open"); got != 1 {
			t.Errorf("cx_open is %d at the limit", got)
		}
		s.Close()
		if _, reused := exchange(t, c, e); p.dialled.Load() != 1 {
			t.Errorf("the place of the one who gave up was lost (reused %v)", reused)
		}
		atRest(t, c)
	})
}

// stat reads one of the cluster's statistics.
func stat(c *upstream.Cluster, name string) (got uint64) {
	c.EachStat(func(n string, v uint64, _ bool) {
		if n == name {
			got = v
		}
	})
	return got
}

func TestStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Requests: 5}})
		exchange(t, c, e)
		s := open(t, c, e)
		for name, want := range map[string]uint64{
			"upstream_cx_total": 1, "upstream_cx_active": 1, "upstream_cx_destroy": 0,
			"upstream_rq_total": 2, "upstream_rq_active": 1, "upstream_rq_pending_total": 1, "upstream_rq_pending_active": 0,
			"membership_total": 1, "membership_healthy": 1, "circuit_breakers.default.rq_open": 0,
		} {
			if got := stat(c, name); got != want {
				t.Errorf("%s: got %d, want %d", name, got, want)
			}
		}
		s.Close()
		atRest(t, c)
	})
}
