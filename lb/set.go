package lb

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Set is the endpoints of a cluster as of one update, ready to pick from.
type Set struct {
	// immutable
	endpoints []*Endpoint
	policy    Policy
	levels    []level
	shares    []share
	starts    map[start]*atomic.Uint64
}

// share is one priority's part of the traffic, by its healthy or its degraded
// endpoints.
type share struct {
	upTo     uint32 // cumulative percentage
	panicked bool
	groups   []group // one, or one for each locality
}

// group is a list of endpoints of equal standing.
type group struct {
	upTo      float64 // cumulative effective weight of the localities
	endpoints []*Endpoint
	edf       *edf           // where weights differ and the policy looks at them
	next      *atomic.Uint64 // round robin's place, handed on from set to set
}

// start names a round robin's place across sets.
type start struct {
	priority uint32
	standing standing
	locality string
}

// standing is the kind of list that a group was made from.
type standing uint8

const (
	usable standing = iota
	reserve
	everyone
)

// NewSet builds a set from specs, which it keeps. Endpoints of prev whose address is
// still named go on with their counters and see their new spec at once, so a set
// that was built should be published. Of several specs with one address the first
// counts. The sets of a cluster must be built one after another.
func NewSet(prev *Set, specs []EndpointSpec, p Policy) *Set {
	return build(prev, adopt(prev, specs), p)
}

// With is the set under another policy.
func (s *Set) With(p Policy) *Set { return build(s, s.endpoints, p) }

// Rebuild is the set with the health of its endpoints as it is now.
func (s *Set) Rebuild() *Set { return build(s, s.endpoints, s.policy) }

func build(prev *Set, endpoints []*Endpoint, p Policy) *Set {
	s := &Set{endpoints: endpoints, policy: p.withDefaults()}
	byPriority := s.byPriority()
	for _, members := range byPriority {
		s.levels = append(s.levels, count(members))
	}
	l := weigh(s.levels, &s.policy)
	var upTo uint32
	add := func(i int, load uint32, st standing) {
		if load == 0 {
			return
		}
		upTo += load
		if l.panicked[i] {
			st = everyone
		}
		s.shares = append(s.shares, share{
			upTo: upTo, panicked: l.panicked[i], groups: s.groups(prev, byPriority[i], st),
		})
	}
	for i, load := range l.healthy {
		add(i, load, usable)
	}
	for i, load := range l.degraded {
		add(i, load, reserve)
	}
	return s
}

// Endpoints lists all endpoints, whatever their health. It must not be changed.
func (s *Set) Endpoints() []*Endpoint { return s.endpoints }

// Len is the number of endpoints.
func (s *Set) Len() int { return len(s.endpoints) }

// Policy is the policy the set picks by, with defaults filled in.
func (s *Set) Policy() Policy { return s.policy }

// Standing counts the endpoints by health over all priorities.
func (s *Set) Standing() (total, healthy, degraded int) {
	for _, l := range s.levels {
		total += l.total
		healthy += l.healthy
		degraded += l.degraded
	}
	return total, healthy, degraded
}

// adopt returns one endpoint for each address of specs, those of prev where they
// exist.
func adopt(prev *Set, specs []EndpointSpec) []*Endpoint {
	if prev != nil && prev.lists(specs) {
		for i, e := range prev.endpoints {
			e.spec.Store(&specs[i])
		}
		return prev.endpoints
	}
	known := make(map[netip.AddrPort]*Endpoint, len(specs)) // nil: already taken
	if prev != nil {
		for _, e := range prev.endpoints {
			known[e.addr] = e
		}
	}
	endpoints := make([]*Endpoint, 0, len(specs))
	for i := range specs {
		spec := &specs[i]
		e, ok := known[spec.Addr]
		switch {
		case !ok:
			e = NewEndpoint(spec)
		case e == nil:
			continue
		default:
			e.spec.Store(spec)
		}
		known[spec.Addr] = nil
		endpoints = append(endpoints, e)
	}
	return endpoints
}

// lists reports whether specs have the addresses of the set in the same order, as
// they mostly do when only weights or health have changed.
func (s *Set) lists(specs []EndpointSpec) bool {
	if len(specs) != len(s.endpoints) {
		return false
	}
	for i, e := range s.endpoints {
		if e.addr != specs[i].Addr {
			return false
		}
	}
	return true
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

func (st standing) admits(h Health) bool {
	switch st {
	case usable:
		return h == Healthy || h == Unknown
	case reserve:
		return h == Degraded
	default:
		return true
	}
}

// groups makes the lists to pick from for one priority. In panic localities do not
// count, as in Envoy.
func (s *Set) groups(prev *Set, members []*Endpoint, st standing) []group {
	at := start{priority: members[0].Spec().Priority, standing: st}
	if !s.policy.LocalityWeighted || st == everyone {
		return s.appendGroup(nil, prev, members, at, 1)
	}
	var order []string
	within := make(map[string][]*Endpoint)
	for _, e := range members {
		l := e.Spec().Locality
		if within[l] == nil {
			order = append(order, l)
		}
		within[l] = append(within[l], e)
	}
	var groups []group
	for _, l := range order {
		available := 0
		for _, e := range within[l] {
			if st.admits(e.Health()) {
				available++
			}
		}
		part := float64(s.policy.Overprovisioning) / 100 * float64(available) / float64(len(within[l]))
		weight := float64(within[l][0].Spec().LocalityWeight) * min(1, part)
		at.locality = l
		groups = s.appendGroup(groups, prev, within[l], at, weight)
	}
	return groups
}

// appendGroup adds the members that the standing admits, if there are any and their
// weight is not zero.
func (s *Set) appendGroup(to []group, prev *Set, members []*Endpoint, at start, weight float64) []group {
	chosen := members
	refused := func(e *Endpoint) bool { return !at.standing.admits(e.Health()) }
	if slices.ContainsFunc(members, refused) {
		chosen = slices.DeleteFunc(slices.Clone(members), refused)
	}
	if len(chosen) == 0 || weight <= 0 {
		return to
	}
	g := group{upTo: weight, endpoints: chosen}
	if len(to) > 0 {
		g.upTo += to[len(to)-1].upTo
	}
	switch k := s.policy.Kind; {
	case (k == RoundRobin || k == LeastRequest) && weightsDiffer(chosen):
		g.edf = &edf{endpoints: chosen, leastActive: k == LeastRequest}
	case k == RoundRobin:
		g.next = s.startAt(prev, at)
	}
	return append(to, g)
}

// startAt finds where round robin goes on: where prev was, or anywhere.
func (s *Set) startAt(prev *Set, at start) *atomic.Uint64 {
	if s.starts == nil {
		s.starts = make(map[start]*atomic.Uint64)
	}
	if prev != nil && prev.starts[at] != nil {
		s.starts[at] = prev.starts[at]
		return s.starts[at]
	}
	n := new(atomic.Uint64)
	n.Store(uint64(rand.Uint32()))
	s.starts[at] = n
	return n
}

func weightsDiffer(endpoints []*Endpoint) bool {
	for _, e := range endpoints[1:] {
		if e.Spec().weight() != endpoints[0].Spec().weight() {
			return true
		}
	}
	return false
}
