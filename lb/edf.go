package lb

import (
	"math/rand/v2"
	"sync"
)

// maxSchedules bounds the copies of a schedule that contention may bring about.
const maxSchedules = 8

// edf picks among endpoints of different weights: earliest deadline first, where a
// pick moves an endpoint's deadline on by the inverse of its weight at that moment.
//
// A schedule is a heap under a lock. A pick that finds the first schedule taken
// uses the next, which is made when first needed: unhurried traffic is spread as
// smoothly as one schedule can, and parallel traffic does not queue up.
type edf struct {
	endpoints   []*Endpoint // immutable
	leastActive bool        // immutable

	schedules [maxSchedules]schedule
}

type schedule struct {
	mu      sync.Mutex
	now     float64 // guarded by mu
	order   uint64  // guarded by mu
	entries []entry // guarded by mu; a min-heap, built at the first pick
}

type entry struct {
	deadline float64
	order    uint64 // ties go to the one that was put in first
	endpoint *Endpoint
}

func (d *edf) pick() *Endpoint {
	for i := range d.schedules {
		s := &d.schedules[i]
		if s.mu.TryLock() {
			e := d.pickLocked(s)
			s.mu.Unlock()
			return e
		}
	}
	s := &d.schedules[rand.IntN(maxSchedules)]
	s.mu.Lock()
	e := d.pickLocked(s)
	s.mu.Unlock()
	return e
}

func (d *edf) pickLocked(s *schedule) *Endpoint {
	if s.entries == nil {
		d.build(s)
	}
	return d.next(s)
}

// build fills the heap and moves it on by a random number of picks, so that many
// proxies with the same endpoints do not start with the same one.
func (d *edf) build(s *schedule) {
	s.entries = make([]entry, len(d.endpoints))
	for i, e := range d.endpoints {
		s.entries[i] = entry{deadline: d.step(e), order: uint64(i), endpoint: e} //nolint:gosec // not negative
	}
	s.order = uint64(len(s.entries))
	for i := len(s.entries)/2 - 1; i >= 0; i-- {
		s.sink(i)
	}
	for range rand.IntN(len(s.entries)) {
		d.next(s)
	}
}

func (d *edf) next(s *schedule) *Endpoint {
	top := &s.entries[0]
	e := top.endpoint
	s.now = top.deadline
	top.deadline = s.now + d.step(e)
	top.order = s.order
	s.order++
	s.sink(0)
	return e
}

// step is the inverse of the endpoint's weight, which least request divides by the
// work the endpoint already has.
func (d *edf) step(e *Endpoint) float64 {
	step := 1 / float64(e.Spec().weight())
	if d.leastActive {
		step *= float64(max(e.Active(), 0) + 1)
	}
	return step
}

func (s *schedule) sink(i int) {
	h := s.entries
	moving := h[i]
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].before(&h[child]) {
			child++
		}
		if !h[child].before(&moving) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = moving
}

func (e *entry) before(o *entry) bool {
	if e.deadline != o.deadline { //nolint:gosec // exact ties are meant
		return e.deadline < o.deadline
	}
	return e.order < o.order
}
