package sidecar

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector's settings, as runtime/debug.SetGCPercent takes them. While the
// first configuration arrives, collecting costs more time than it saves memory.
// Afterwards a sidecar's heap is small, and what istiod sent lies outside of it: it
// may grow by half, or by roomServing, since a few megabytes in use would else be
// collected for every few dozen new connections. trim gives the room back.
const (
	gcPercentStarting = 200
	gcPercentLeast    = 50
	gcPercentMost     = 200
	roomServing       = 8 << 20
)

// gcPercent is the setting for a heap with so much in use.
func gcPercent(live uint64) int {
	return int(min(max(100*roomServing/max(live, 1), gcPercentLeast), gcPercentMost)) //nolint:gosec // at most gcPercentMost
}

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
	debug.SetGCPercent(gcPercentLeast)
	freeMemory()
	trim(ctx)
	return nil
}

// freeMemory gives back what is not used. Twice: what the first collection finds
// unused, such as pooled buffers, is freed by the second.
func freeMemory() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
}

// The collector runs when the heap has grown, so a sidecar that falls quiet after a
// burst, of new connections say, would keep the burst's garbage and the stacks that
// grew for it until the next one.
const (
	trimLook = time.Second
	// quietRate is how much is allocated in a second while nothing much happens.
	quietRate = 1 << 20
	// minSlack is the least that is worth a collection, beside a quarter of what is in
	// use.
	minSlack = 6 << 20
)

// trim frees memory when the sidecar has fallen quiet and that brings something.
func trim(ctx context.Context) {
	look := time.NewTicker(trimLook)
	defer look.Stop()
	m := newMeter()
	percent := gcPercentLeast
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		m.read()
		if now := gcPercent(m.live()); now > percent+percent/4 || now < percent-percent/4 {
			percent = now
			debug.SetGCPercent(percent)
		}
		if m.quiet() && m.slack() > max(minSlack, m.live()/4) {
			freeMemory()
			m.read()
			m.stacks = m.value(meterStacks)
		}
	}
}

// meter reads the runtime's figures.
type meter struct {
	samples []metrics.Sample
	allocs  uint64 // at the read before
	fresh   uint64 // allocated between the last two reads
	stacks  uint64 // after the last trim
}

// The samples of a meter.
const (
	meterAllocs = iota
	meterObjects
	meterLive
	meterFree
	meterStacks
)

func newMeter() *meter {
	m := &meter{samples: []metrics.Sample{
		meterAllocs:  {Name: "/gc/heap/allocs:bytes"},
		meterObjects: {Name: "/memory/classes/heap/objects:bytes"},
		meterLive:    {Name: "/gc/heap/live:bytes"},
		meterFree:    {Name: "/memory/classes/heap/free:bytes"},
		meterStacks:  {Name: "/memory/classes/heap/stacks:bytes"},
	}}
	m.read()
	m.stacks = m.value(meterStacks)
	return m
}

func (m *meter) read() {
	metrics.Read(m.samples)
	now := m.value(meterAllocs)
	m.fresh, m.allocs = now-m.allocs, now
}

func (m *meter) value(i int) uint64 { return m.samples[i].Value.Uint64() }

func (m *meter) quiet() bool { return m.fresh < quietRate }

func (m *meter) live() uint64 { return m.value(meterLive) }

// slack is what a collection might give back.
func (m *meter) slack() uint64 {
	return above(m.value(meterObjects), m.live()) + m.value(meterFree) + above(m.value(meterStacks), m.stacks)
}

// above is by how much a is larger.
func above(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}
