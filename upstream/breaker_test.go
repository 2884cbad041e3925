package upstream_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/upstream"
)

var overflowed = flow.Error{Side: flow.SideInternal, Flag: flow.UpstreamOverflow, Kind: flow.KindOverflow}

func high() *upstream.OpenOptions { return &upstream.OpenOptions{Priority: upstream.HighPriority} }

func TestPrioritiesHaveLimitsOfTheirOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{answer: time.Second}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Requests: 1}, HighLimits: upstream.Limits{Requests: 2, Retries: 1}})
		low := open(t, c, e)
		_, err := c.Open(t.Context(), e, nil)
		wantFlow(t, err, overflowed)
		var streams []*upstream.Stream
		for range 2 {
			s, err := c.Open(t.Context(), e, high())
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		_, err = c.Open(t.Context(), e, high())
		wantFlow(t, err, overflowed)
		if stat(c, "circuit_breakers.default.rq_open") != 1 || stat(c, "circuit_breakers.high.rq_open") != 1 {
			t.Error("a circuit breaker is not open")
		}
		if !c.AcquireRetry(upstream.HighPriority) || c.AcquireRetry(upstream.HighPriority) || !c.AcquireRetry(upstream.DefaultPriority) {
			t.Error("retries of one priority count for another")
		}
		low.Close()
		if stat(c, "circuit_breakers.default.rq_open") != 0 || stat(c, "circuit_breakers.high.rq_open") != 1 {
			t.Error("what ended counted for another priority")
		}
		for _, s := range streams {
			s.Close()
		}
		if s, err := c.TryOpen(e, nil); err != nil || s == nil {
			t.Errorf("the connection of default priority is gone: %v", err)
		} else {
			s.Close()
		}
		atRest(t, c)
	})
}

func TestALimitOfNoneAllowsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, limits := range map[string]upstream.Limits{"requests": {Requests: upstream.None}, "pending": {Pending: upstream.None}} {
			p := &pipes{}
			c, e := p.cluster(t, &upstream.Spec{Limits: limits})
			if _, err := c.Open(t.Context(), e, nil); err == nil {
				t.Errorf("%s: opened", name)
			} else {
				wantFlow(t, err, overflowed)
			}
			atRest(t, c)
		}
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Connections: upstream.None, Retries: upstream.None}})
		exchange(t, c, e) // an endpoint without any connection may have one
		if c.AcquireRetry(upstream.DefaultPriority) {
			t.Error("a retry was allowed")
		}
		if _, err := c.Dial(t.Context(), e, nil); err == nil {
			t.Error("a TCP connection was allowed")
		}
		atRest(t, c)
	})
}

// TestARequestThatWaitsIsNotActive: what waits for a connection counts as pending, and
// meets the limit on requests when it has one.
func TestARequestThatWaitsIsNotActive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{connect: 2 * time.Second}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Requests: 1}})
		var errs [2]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				s, err := c.Open(t.Context(), e, nil)
				if errs[i] = err; err == nil {
					time.Sleep(time.Second)
					s.Close()
				}
			})
			time.Sleep(500 * time.Millisecond)
		}
		synctest.Wait()
		if pending, open := stat(c, "upstream_rq_pending_active"), stat(c, "circuit_breakers.default.rq_open"); pending != 2 || open != 0 {
			t.Errorf("%d pending, the breaker for requests is %d", pending, open)
		}
		wg.Wait()
		if errs[0] != nil {
			t.Error(errs[0])
		}
		wantFlow(t, errs[1], overflowed)
		if s, err := c.TryOpen(e, nil); s == nil {
			t.Errorf("the connection that was made for it is gone: %v", err)
		} else {
			s.Close()
		}
		atRest(t, c)
	})
}

func TestRetryBudgetFollowsTheRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Retries: 1, Budget: &upstream.Budget{Percent: 50, Least: 2}, Tell: true}})
		retries := func() (n int) {
			for c.AcquireRetry(upstream.DefaultPriority) {
				n++
			}
			if open := stat(c, "circuit_breakers.default.rq_retry_open"); open != 1 {
				t.Errorf("the breaker is %d with the budget used up", open)
			}
			for range n {
				c.ReleaseRetry(upstream.DefaultPriority)
			}
			return n
		}
		if got := retries(); got != 2 {
			t.Errorf("%d retries without requests, want the least, 2", got)
		}
		var streams []*upstream.Stream
		for range 9 {
			streams = append(streams, open(t, c, e))
		}
		if got := retries(); got != 4 {
			t.Errorf("%d retries with 9 requests, want 4", got)
		}
		for _, s := range streams {
			s.Close()
		}
		if got := c.Stats().Requests.RetryOverflow.Load(); got != 2 {
			t.Errorf("%d overflows, want 2", got)
		}
		atRest(t, c)
	})
}

func TestWhatRemainsIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Connections: 5, Pending: 4, Requests: 3, Retries: 2, Tell: true}})
		s := open(t, c, e)
		for name, want := range map[string]uint64{"cx": 4, "pending": 4, "rq": 2, "retries": 2} {
			if got := stat(c, "circuit_breakers.default.remaining_"+name); got != want {
				t.Errorf("remaining_%s: got %d, want %d", name, got, want)
			}
		}
		c.EachStat(func(name string, _ uint64, _ bool) {
			if name == "circuit_breakers.high.remaining_cx" {
				t.Error("told of a priority that is not to be told of")
			}
		})
		s.Close()
		atRest(t, c)
	})
}

func TestTCPConnectionsArePendingAndRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{connect: time.Second}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Pending: 1}})
		var wg sync.WaitGroup
		wg.Go(func() {
			conn, err := c.Dial(t.Context(), e, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if stat(c, "upstream_rq_active") != 1 || stat(c, "upstream_rq_total") != 1 || stat(c, "upstream_rq_pending_active") != 0 {
				t.Error("a connection is no request")
			}
			conn.Done()
		})
		synctest.Wait()
		_, err := c.Dial(t.Context(), e, nil)
		wantFlow(t, err, overflowed)
		if stat(c, "upstream_rq_pending_overflow") != 1 || stat(c, "upstream_cx_overflow") != 0 {
			t.Error("the overflow was not counted as one of what is pending")
		}
		wg.Wait()
		atRest(t, c)
	})
}

func TestAnIdleConnectionEndsAtItsAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{answer: time.Second}
		c, e := p.cluster(t, &upstream.Spec{HTTP: upstream.HTTPOptions{MaxConnDuration: 10 * time.Second}})
		exchange(t, c, e)
		time.Sleep(5 * time.Second)
		if _, reused := exchange(t, c, e); !reused {
			t.Error("a connection of 6 s was not used again")
		}
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		if got := c.Stats().CxActive.Load(); got != 0 {
			t.Errorf("%d connections are older than they may be", got)
		}
		if got := stat(c, "upstream_cx_max_duration_reached"); got != 1 {
			t.Errorf("counted %d", got)
		}
		atRest(t, c)
	})
}
