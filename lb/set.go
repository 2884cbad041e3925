package lb

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Set is the endpoints of a cluster as of one update, ready to pick from.
type Set struct {
	// immutable
	endpoints []*Endpoint
	policy    Policy
	levels    []level
	shares    []share
	epoch     time.Time // what times are counted from in this set and those after it
	kept      map[start]kept

	addrs atomic.Pointer[map[netip.AddrPort]int] // made when somebody asks for an address
}

// NewSet builds a set from specs, which it keeps. Endpoints of prev that are still
// named go on with their counters and see their new spec at once, so a set that was
// built should be published. Of several specs of one endpoint the first counts. The
// sets of a cluster must be built one after another.
func NewSet(prev *Set, specs []EndpointSpec, p Policy) *Set {
	each := make([]*EndpointSpec, len(specs))
	for i := range specs {
		each[i] = &specs[i]
	}
	return Follow(prev, each, p)
}

// Follow is NewSet for updates that repeat most of what they say: an endpoint whose spec
// is the one that it has is not touched.
func Follow(prev *Set, specs []*EndpointSpec, p Policy) *Set {
	return build(prev, adopt(prev, specs), p)
}

// With is the set under another policy.
func (s *Set) With(p Policy) *Set { return build(s, s.endpoints, p) }

// Rebuild is the set with the health of its endpoints as it is now.
func (s *Set) Rebuild() *Set { return build(s, s.endpoints, s.policy) }

func build(prev *Set, endpoints []*Endpoint, p Policy) *Set {
	s := &Set{endpoints: endpoints, policy: p.withDefaults()}
	b := builder{set: s, prev: prev}
	if s.epoch = time.Now(); prev != nil {
		s.epoch = prev.epoch
	}
	b.slowUntil = s.warmUp()
	byPriority := s.byPriority()
	for _, members := range byPriority {
		s.levels = append(s.levels, count(members))
	}
	l := weigh(s.levels, &s.policy)
	for i, load := range l.healthy {
		b.add(byPriority[i], load, usable, l.panicked[i])
	}
	for i, load := range l.degraded {
		b.add(byPriority[i], load, reserve, l.panicked[i])
	}
	return s
}

// Endpoints lists all endpoints, whatever their health. It must not be changed.
func (s *Set) Endpoints() []*Endpoint { return s.endpoints }

// Len is the number of endpoints.
func (s *Set) Len() int { return len(s.endpoints) }

// Policy is the policy the set picks by, with defaults filled in.
func (s *Set) Policy() Policy { return s.policy }

// Hashes reports whether the set picks by the hint's hash.
func (s *Set) Hashes() bool { return s.policy.hashes() }

// Standing counts the endpoints by health over all priorities.
func (s *Set) Standing() (total, healthy, degraded int) {
	for _, l := range s.levels {
		total += l.total
		healthy += l.healthy
		degraded += l.degraded
	}
	return total, healthy, degraded
}

// byPriority lists the endpoints of each priority in use, most preferred first.
func (s *Set) byPriority() [][]*Endpoint {
	if len(s.endpoints) == 0 {
		return nil
	}
	order := func(a, b *Endpoint) int { return cmp.Compare(a.Spec().Priority, b.Spec().Priority) }
	sorted := s.endpoints
	if !slices.IsSortedFunc(sorted, order) {
		sorted = slices.Clone(sorted)
		slices.SortStableFunc(sorted, order)
	}
	var lists [][]*Endpoint
	begin := 0
	for i := range sorted {
		if i+1 == len(sorted) || order(sorted[i], sorted[i+1]) != 0 {
			lists = append(lists, sorted[begin:i+1:i+1])
			begin = i + 1
		}
	}
	return lists
}

func count(members []*Endpoint) level {
	l := level{total: len(members)}
	for _, e := range members {
		switch e.Health() {
		case Healthy, Unknown:
			l.healthy++
		case Degraded:
			l.degraded++
		case Unhealthy, Draining:
		}
	}
	return l
}
