package upstream

import (
	"context"
	"errors"
	"log/slog"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/crash"
)

// errPanicked is what a bug does to those who wait for what ran into it.
var errPanicked = errors.New("panicked")

// makeGuarded is make: a bug there fails the attempt, which may be one on behalf of
// many requests, and not the process.
func (c *Cluster) makeGuarded(ctx context.Context, m *made, w *way, alpn []string) (err error) {
	var bug crash.Box
	defer func() {
		if !bug.Caught() {
			return
		}
		if m.raw != nil {
			_ = m.raw.Close() // it is in no state that anybody knows
		}
		err = c.panicked(ctx, "connection attempt panicked", &bug)
	}()
	defer bug.Catch()
	return m.make(ctx, c.o.Dial, w, alpn)
}

// fillGuarded is Fill for a goroutine that serves many flows.
func (c *Cluster) fillGuarded(ctx context.Context) (err error) {
	var bug crash.Box
	defer func() {
		if bug.Caught() {
			err = c.panicked(ctx, "cluster's configuration panicked", &bug)
		}
	}()
	defer bug.Catch()
	return c.o.Fill(ctx, c)
}

func (c *Cluster) panicked(ctx context.Context, what string, bug *crash.Box) error {
	c.stats.Bugs.Add(1)
	c.o.Logger.LogAttrs(ctx, slog.LevelError, what, slog.String("cluster", c.name), slog.String("panic", bug.Text()))
	return &flow.Error{Side: flow.SideInternal, Flag: flow.LocalReset, Retry: flow.RetryUnsent, Err: errPanicked}
}
