package upstream_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

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
