package upstream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/upstream"
)

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

func TestDeadlineEndsTheWaitForAConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{connect: time.Minute}
		c, e := p.cluster(t, &upstream.Spec{})
		begin := time.Now()
		o := &upstream.OpenOptions{Deadline: begin.Add(time.Second)}
		want := flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryUnsent}
		_, err := c.Open(t.Context(), e, o)
		wantFlow(t, err, want)
		_, err = c.Dial(t.Context(), e, o)
		wantFlow(t, err, want)
		if got := time.Since(begin); got != time.Second {
			t.Errorf("took %v, want 1s", got)
		}
		atRest(t, c)
	})
}

func TestCloseCutsADialShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{connect: time.Hour}
		c, e := p.cluster(t, &upstream.Spec{ConnectTimeout: time.Hour})
		failed := make(chan error, 2)
		go func() {
			_, err := c.Open(t.Context(), e, nil)
			failed <- err
		}()
		go func() {
			_, err := c.Dial(t.Context(), e, nil)
			failed <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.Close(ctx)
		for range 2 {
			err := <-failed
			wantFlow(t, err, flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Retry: flow.RetryUnsent})
			if !errors.Is(err, upstream.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
		if got := c.Stats().CxConnectFail.Load(); got != 0 {
			t.Errorf("counted %d failures of the upstream, want none", got)
		}
		atRest(t, c)
	})
}

func TestCloseSendsWaitersAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c, e := p.cluster(t, &upstream.Spec{Limits: upstream.Limits{Connections: 1}})
		s := open(t, c, e)
		failed := make(chan error, 1)
		go func() {
			_, err := c.Open(t.Context(), e, nil)
			failed <- err
		}()
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			s.Close()
		}()
		c.Close(t.Context())
		wantFlow(t, <-failed, flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Retry: flow.RetryUnsent})
		atRest(t, c)
	})
}

func TestAbortEndsAnExchange(t *testing.T) {
	t.Parallel()
	p, let := blocking(t)
	defer let()
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	s := open(t, c, e)
	left := &flow.Error{Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled}
	failed := make(chan error, 1)
	go func() {
		_, err := s.RoundTrip(request(), time.Time{})
		failed <- err
	}()
	eventually(t, "the request arrives", func() bool { return p.accepted.Load() == 1 })
	s.Abort(left)
	wantFlow(t, <-failed, *left)
	s.Close()
	s.Abort(left) // of no effect
	let()
	if _, reused := exchange(t, c, e); reused {
		t.Error("an aborted connection was used again")
	}
}
