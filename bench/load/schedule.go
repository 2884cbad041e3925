package load

import (
	"math/rand/v2"
	"time"
)

// Arrival is how requests of an open loop spread over time.
type Arrival int

// The arrivals.
const (
	// Uniform puts each request at a random time within its own slot of 1/rate.
	Uniform Arrival = iota
	// Poisson makes gaps independent: bursts happen as with many unrelated callers.
	Poisson
	// Steady has no jitter.
	Steady
)

// arrivals computes when requests are due.
type arrivals struct {
	kind Arrival
	gap  float64 // ns
	rand *rand.Rand
	n    float64 // requests so far
	last float64
}

func newArrivals(s *Shape) *arrivals {
	return &arrivals{kind: s.Arrival, gap: float64(time.Second) / s.Rate, rand: rand.New(rand.NewPCG(s.Seed, 0x6f757472))} //nolint:gosec // equal seeds must give equal times
}

// next returns when the next request is due, never before the one before.
func (a *arrivals) next() time.Duration {
	switch a.kind {
	case Poisson:
		a.last += a.gap * a.rand.ExpFloat64()
	case Steady:
		a.last = a.n * a.gap
	default:
		a.last = (a.n + a.rand.Float64()) * a.gap
	}
	a.n++
	return time.Duration(a.last)
}

// timetable is what is due, for whoever sends.
type timetable struct {
	shape   *Shape
	times   *arrivals
	counted int
}

func newTimetable(s *Shape) *timetable { return &timetable{shape: s, times: newArrivals(s)} }

// next returns when the next request is due; ok is false after the last.
func (t *timetable) next() (due time.Duration, ok bool) {
	s := t.shape
	if s.Requests > 0 && t.counted == s.Requests {
		return 0, false
	}
	due = t.times.next()
	if due >= s.Warmup {
		t.counted++
	}
	return due, s.Duration == 0 || due < s.Warmup+s.Duration
}
