package sidecar

import (
	"context"
	"time"
)

// The drain looks at the connections this often, and takes the data path for idle
// when it has seen none for calm.
const (
	drainLook = 50 * time.Millisecond
	drainCalm = time.Second
)

// drain ends the data path within the configured time: inbound first, while the
// application finishes its work and may still ask others; all of it when nothing
// is open any more, or when the time is up.
func (s *Sidecar) drain() {
	s.draining.Store(true)
	s.ready.Drain()
	s.log.Info("draining", "at_most", s.cfg.Drain.Termination, "connections", s.listeners.Active())
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain.Termination)
	defer cancel()
	s.listeners.DrainInbound()
	s.untilCalm(ctx)
	err := s.listeners.Drain(ctx)
	s.compiler.Close(ctx)
	s.log.Info("drained", "took", time.Since(start), "cut", err != nil)
}

// untilCalm returns when no connection has been open for a while, or with ctx.
func (s *Sidecar) untilCalm(ctx context.Context) {
	look := time.NewTicker(drainLook)
	defer look.Stop()
	quiet := time.Now()
	for {
		if s.listeners.Active() > 0 {
			quiet = time.Now()
		}
		if time.Since(quiet) >= drainCalm {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
