package upstream

import (
	"context"
	"log/slog"
)

// filling is one run of Options.Fill.
type filling struct {
	done chan struct{} // closed by the run
	err  error         // set before done is closed
}

// Ensure waits until the cluster is filled. It fails with a *flow.Error: flag NC when
// nothing is known under the cluster's name, or why ctx ended.
func (c *Cluster) Ensure(ctx context.Context) error {
	if c.spec.Load() != nil {
		return nil
	}
	return c.fill(ctx)
}

func (c *Cluster) fill(ctx context.Context) error {
	if c.removed.Load() || c.o.Fill == nil {
		return noCluster(c.name, ErrUnknown)
	}
	f, err := c.joinFill(ctx)
	if err != nil {
		return err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return gaveUp(ctx)
	}
	switch {
	case c.spec.Load() != nil:
		return nil
	case f.err != nil:
		return noCluster(c.name, f.err)
	default:
		return noCluster(c.name, ErrUnknown)
	}
}

// joinFill returns the run under way, or starts one.
func (c *Cluster) joinFill(ctx context.Context) (*filling, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filling != nil {
		return c.filling, nil
	}
	// Others wait for this run too, so it must not end with this flow.
	bounded, expire := context.WithTimeout(context.WithoutCancel(ctx), c.o.FillTimeout)
	run, stop := context.WithCancelCause(bounded)
	k := &cancel{stop: stop}
	if !c.live.add(k) {
		expire()
		stop(nil)
		return nil, closed()
	}
	c.stats.Fills.Add(1)
	f := &filling{done: make(chan struct{})}
	c.filling = f
	go func() { // joined by Close through c.live
		defer c.live.remove(k)
		defer expire()
		defer stop(nil)
		if f.err = c.fillGuarded(run); f.err != nil {
			c.o.Logger.LogAttrs(run, slog.LevelDebug, "cluster stays empty",
				slog.String("cluster", c.name), slog.Any("error", f.err))
		}
		c.mu.Lock()
		c.filling = nil
		c.mu.Unlock()
		close(f.done)
	}()
	return f, nil
}
