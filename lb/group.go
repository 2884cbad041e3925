package lb

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
)

// share is one priority's part of the traffic, by its healthy or its degraded
// endpoints.
type share struct {
	upTo     uint32 // cumulative percentage
	panicked bool
	fails    bool    // picks nothing: the policy wants no panic
	groups   []group // one, or one for each locality
	order    *edf    // of the groups, where there are several
	table    *table  // instead of groups, where the policy hashes
}

// group is a list of endpoints of equal standing.
type group struct {
	endpoints []*Endpoint
	edf       *edf           // where weights differ and the policy looks at them
	next      *atomic.Uint64 // round robin's place, handed on from set to set
}

// start names what is handed on from a set to the next.
type start struct {
	priority uint32
	standing standing
	locality string
	order    bool // of the localities, not within one
}

// kept is what is handed on: where a group goes on.
type kept struct {
	next  *atomic.Uint64
	edf   *edf
	table *table
}

// standing is the kind of list that a group was made from.
type standing uint8

const (
	usable standing = iota
	reserve
	everyone
)

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

// filter returns the members that the standing admits.
func (st standing) filter(members []*Endpoint) []*Endpoint {
	refused := func(e *Endpoint) bool { return !st.admits(e.Health()) }
	if slices.ContainsFunc(members, refused) {
		return slices.DeleteFunc(slices.Clone(members), refused)
	}
	return members
}

// builder makes the shares of a set.
type builder struct {
	set, prev *Set
	slowUntil int64
	upTo      uint32
}

// add makes a priority's share of the load.
func (b *builder) add(members []*Endpoint, load uint32, st standing, panicked bool) {
	if load == 0 {
		return
	}
	b.upTo += load
	if panicked {
		st = everyone
	}
	sh := share{upTo: b.upTo, panicked: panicked, fails: panicked && b.set.policy.FailOnPanic && !b.set.policy.hashes()}
	at := start{priority: members[0].Spec().Priority, standing: st}
	if b.set.policy.hashes() {
		if st == reserve { // as in Envoy, which hashes over the healthy endpoints whatever was drawn
			at.standing = usable
		}
		sh.table = b.table(members, at)
	} else {
		b.groups(&sh, members, at)
	}
	b.set.shares = append(b.set.shares, sh)
}

// last is what the previous set had in this place.
func (b *builder) last(at start) kept {
	if b.prev == nil {
		return kept{}
	}
	return b.prev.kept[at]
}

func (b *builder) keep(at start, k kept) {
	if b.set.kept == nil {
		b.set.kept = make(map[start]kept)
	}
	b.set.kept[at] = k
}

// table makes what a priority's keys are spread by. Localities count in panic, too,
// unlike with the other policies.
func (b *builder) table(members []*Endpoint, at start) *table {
	if k := b.set.kept[at]; k.table != nil { // the healthy and the degraded share one
		return k.table
	}
	var w weighting
	if !b.set.policy.LocalityWeighted {
		w.add(at.standing.filter(members), 1)
	} else {
		var sum uint64
		all := b.localities(members)
		for _, l := range all {
			sum += uint64(l[0].Spec().LocalityWeight)
		}
		for _, l := range all {
			if weight := l[0].Spec().LocalityWeight; weight > 0 {
				w.add(at.standing.filter(l), float64(weight)/float64(sum))
			}
		}
	}
	how := b.set.policy.Hashing
	t := &table{kind: b.set.policy.Kind, how: how, endpoints: w.endpoints, weights: w.weights, keys: keysOf(w.endpoints, &how)}
	t = newTable(b.last(at).table, t)
	b.keep(at, kept{table: t})
	return t
}

// localities splits endpoints in Envoy's order: this proxy's own locality first, the
// others by name.
func (b *builder) localities(members []*Endpoint) [][]*Endpoint {
	var order []string
	within := make(map[string][]*Endpoint)
	for _, e := range members {
		l := e.Spec().Locality
		if within[l] == nil {
			order = append(order, l)
		}
		within[l] = append(within[l], e)
	}
	own := b.set.policy.Locality
	slices.SortFunc(order, func(x, y string) int {
		if own != "" && (x == own) != (y == own) {
			if x == own {
				return -1
			}
			return 1
		}
		return compareLocalities(x, y)
	})
	out := make([][]*Endpoint, 0, len(order))
	for _, l := range order {
		out = append(out, within[l])
	}
	return out
}

// compareLocalities orders by region, then zone, then sub-zone.
func compareLocalities(x, y string) int {
	for {
		a, restA, moreA := strings.Cut(x, "/")
		b, restB, moreB := strings.Cut(y, "/")
		if c := strings.Compare(a, b); c != 0 {
			return c
		}
		if !moreA || !moreB {
			return cmp.Compare(len(x), len(y))
		}
		x, y = restA, restB
	}
}

// groups makes the lists to pick from for one priority. In panic localities do not
// count, nor where none of them has a weight, as in Envoy.
func (b *builder) groups(sh *share, members []*Endpoint, at start) {
	if b.set.policy.LocalityWeighted && at.standing != everyone {
		var weights []float64
		for _, l := range b.localities(members) {
			available := at.standing.filter(l)
			part := float64(b.set.policy.Overprovisioning) / 100 * float64(len(available)) / float64(len(l))
			weight := float64(l[0].Spec().LocalityWeight) * min(1, part)
			if weight <= 0 {
				continue
			}
			at.locality = l[0].Spec().Locality
			sh.groups = append(sh.groups, b.group(available, at))
			weights = append(weights, weight)
		}
		if len(weights) > 1 {
			at = start{priority: at.priority, standing: at.standing, order: true}
			sh.order = newEDF(b.last(at).edf, &edf{fixed: weights})
			b.keep(at, kept{edf: sh.order})
		}
		if len(weights) > 0 {
			return
		}
		at.locality = ""
	}
	if chosen := at.standing.filter(members); len(chosen) > 0 {
		sh.groups = append(sh.groups, b.group(chosen, at))
	}
}

// group makes the list of endpoints that are not empty.
func (b *builder) group(chosen []*Endpoint, at start) group {
	p := &b.set.policy
	g := group{endpoints: chosen}
	last := b.last(at)
	switch weighs := p.Kind == RoundRobin || p.Kind == LeastRequest; {
	case !weighs || len(chosen) == 1:
		return g
	case b.slowUntil != 0 || weightsDiffer(chosen):
		g.edf = newEDF(last.edf, &edf{endpoints: chosen, pace: b.pace()})
	case p.Kind == LeastRequest:
		return g
	case last.next != nil:
		g.next = last.next
	default:
		g.next = new(atomic.Uint64)
		g.next.Store(uint64(rand.Uint32()))
	}
	b.keep(at, kept{next: g.next, edf: g.edf})
	return g
}

func (b *builder) pace() pace {
	p := &b.set.policy
	out := pace{leastActive: p.Kind == LeastRequest && p.ActiveBias >= 0, bias: p.ActiveBias}
	if out.bias == 0 {
		out.bias = 1
	}
	if b.slowUntil != 0 {
		out.slow, out.epoch, out.until = p.SlowStart, b.set.epoch, b.slowUntil
	}
	return out
}

func weightsDiffer(endpoints []*Endpoint) bool {
	for _, e := range endpoints[1:] {
		if e.weight.Load() != endpoints[0].weight.Load() {
			return true
		}
	}
	return false
}
