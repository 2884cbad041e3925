package lb

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// maxSchedules bounds the copies of a schedule that contention may bring about.
const maxSchedules = 8

// edf picks among members of different weights: earliest deadline first, where a
// pick moves a member's deadline on by the inverse of its weight at that moment.
//
// A schedule is a heap under a lock. A pick that finds the first schedule taken
// uses the next, which is made when first needed: unhurried traffic is spread as
// smoothly as one schedule can, and parallel traffic does not queue up.
type edf struct {
	// immutable
	endpoints []*Endpoint // the members, unless they are
	fixed     []float64   // weights that stay
	pace      pace

	schedules [maxSchedules]schedule
}

// pace is what an endpoint's weight is changed by while requests come.
type pace struct {
	leastActive bool
	bias        float64 // exponent of the requests in progress
	slow        SlowStart
	epoch       time.Time // what warm is counted from
	until       int64     // when nobody is slow any more, counted from epoch
}

type schedule struct {
	mu      sync.Mutex
	now     float64 // guarded by mu
	order   uint32  // guarded by mu
	entries []entry // guarded by mu; a heap of fours, built at the first pick
}

// entry is a member's place. Four of them, the children of one entry, fill a line of
// the cache.
type entry struct {
	deadline float64
	order    uint32 // ties go to the one that was put in first
	member   uint32
}

// pad keeps the children of an entry on one line.
const pad = 3

func (d *edf) len() int { return max(len(d.endpoints), len(d.fixed)) }

// pick returns the position of the next member.
func (d *edf) pick() int {
	for i := range d.schedules {
		s := &d.schedules[i]
		if s.mu.TryLock() {
			m := d.pickLocked(s)
			s.mu.Unlock()
			return m
		}
	}
	s := &d.schedules[rand.IntN(maxSchedules)]
	s.mu.Lock()
	m := d.pickLocked(s)
	s.mu.Unlock()
	return m
}

func (d *edf) pickLocked(s *schedule) int {
	if s.entries == nil {
		d.build(s)
	}
	return d.next(s)
}

// build puts each member anywhere within its first step, so that many proxies with
// the same endpoints do not start with the same one.
func (d *edf) build(s *schedule) {
	n := d.len()
	now := d.clock()
	s.entries = make([]entry, pad+n)
	for i := range n {
		s.entries[pad+i] = entry{deadline: d.step(i, now) * rand.Float64(), order: uint32(i), member: uint32(i)} //nolint:gosec // a set never holds 2^32 endpoints
	}
	s.order = uint32(n) //nolint:gosec // as above
	for i := (n - 2) / 4; i >= 0; i-- {
		s.sink(i)
	}
}

func (d *edf) next(s *schedule) int {
	top := &s.entries[pad]
	m := int(top.member)
	s.now = top.deadline
	top.deadline = s.now + d.step(m, d.clock())
	top.order = s.order
	s.order++
	s.sink(0)
	return m
}

// clock is the time since the epoch, where somebody may still be slow.
func (d *edf) clock() int64 {
	if d.pace.until == 0 {
		return 0
	}
	return int64(time.Since(d.pace.epoch))
}

// step is the inverse of a member's weight.
func (d *edf) step(m int, now int64) float64 {
	if d.fixed != nil {
		return 1 / d.fixed[m]
	}
	e := d.endpoints[m]
	step := 1 / float64(e.weight.Load())
	if d.pace.leastActive {
		step *= d.pace.busyness(e)
	}
	if now < d.pace.until {
		step /= d.pace.slow.factor(e, now)
	}
	return step
}

// busyness is what least request divides a weight by.
func (p *pace) busyness(e *Endpoint) float64 {
	active := float64(max(e.Active(), 0) + 1)
	if p.bias == 1 {
		return active
	}
	return math.Pow(active, p.bias)
}

// sink moves the entry at i down to where it belongs.
func (s *schedule) sink(i int) {
	h := s.entries[pad:]
	moving := h[i]
	for {
		first := 4*i + 1
		if first >= len(h) {
			break
		}
		least := first
		for c := first + 1; c < min(first+4, len(h)); c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if !h[least].before(&moving) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = moving
}

func (e *entry) before(o *entry) bool {
	if e.deadline != o.deadline { //nolint:gosec // exact ties are meant
		return e.deadline < o.deadline
	}
	return int32(e.order-o.order) < 0 //nolint:gosec // the counter wraps around
}

// newEDF goes on with prev's schedules where the members are the same: their weights
// may be others, and are seen as each is picked.
func newEDF(prev, d *edf) *edf {
	if prev != nil && prev.pace == d.pace && slices.Equal(prev.endpoints, d.endpoints) && slices.Equal(prev.fixed, d.fixed) {
		return prev
	}
	return d
}
