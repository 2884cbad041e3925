package sidecar

import (
	"context"
	"runtime/debug"
	"time"
)

// The collector's settings, as runtime/debug.SetGCPercent takes them. While the
// first configuration arrives, collecting costs more time than it saves memory;
// afterwards a sidecar's heap is small and changes little, and what istiod sent lies
// outside of it.
const (
	gcPercentStarting = 200
	gcPercentServing  = 50
)

// settleTime is how long after the first readiness the memory of the start is given
// back to the system; a sidecar that never gets ready settles at startLimit.
const (
	settleTime = time.Second
	startLimit = 30 * time.Second
	settleLook = 100 * time.Millisecond
)

// settle tightens the collector once the start is over.
func (s *Sidecar) settle(ctx context.Context) error {
	look := time.NewTicker(settleLook)
	defer look.Stop()
	over := time.Now().Add(startLimit)
	ready := false
	for time.Now().Before(over) {
		if !ready && len(s.ready.Missing()) == 0 {
			ready, over = true, time.Now().Add(settleTime)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
	debug.SetGCPercent(gcPercentServing)
	// Twice: what the first collection finds unused, such as pooled buffers, is freed
	// by the second.
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	return nil
}
