package compile

import (
	"hash/maphash"
	"maps"
	"strings"
	"sync/atomic"
)

// remembered is a map that grows entry by entry and is read without a lock: reading
// costs the same whatever it holds, and adding a little, however much it holds. It has
// one writer at a time.
type remembered[K comparable, V any] struct {
	now atomic.Pointer[generations[K, V]]
}

// generations hold what was added lately apart, since adding copies: only when that
// has grown is it put to the rest.
type generations[K comparable, V any] struct {
	old, young map[K]V
}

// maxYoung is how much is copied with each addition.
const maxYoung = 64

func (r *remembered[K, V]) get(key K) (V, bool) {
	g := r.now.Load()
	if g == nil {
		var none V
		return none, false
	}
	if v, ok := g.old[key]; ok || len(g.young) == 0 {
		return v, ok
	}
	v, ok := g.young[key]
	return v, ok
}

// add puts a new key in.
func (r *remembered[K, V]) add(key K, v V) {
	next := &generations[K, V]{young: make(map[K]V)}
	if g := r.now.Load(); g != nil {
		next.old = g.old
		maps.Copy(next.young, g.young)
	}
	next.young[key] = v
	if len(next.young) >= maxYoung {
		all := make(map[K]V, len(next.old)+len(next.young))
		maps.Copy(all, next.old)
		maps.Copy(all, next.young)
		next.old, next.young = all, nil
	}
	r.now.Store(next)
}

// all copies the map.
func (r *remembered[K, V]) all() map[K]V {
	out := make(map[K]V)
	if g := r.now.Load(); g != nil {
		maps.Copy(out, g.old)
		maps.Copy(out, g.young)
	}
	return out
}

// recentSlots is how many names a recent holds.
const recentSlots = 256

// recent remembers what was found for some of the names that were asked last: a name
// that others can make up without end must not make anything grow.
type recent[V any] struct {
	table atomic.Pointer[recentTable[V]]
}

type recentTable[V any] struct {
	seed  maphash.Seed // immutable
	slots [recentSlots]atomic.Pointer[recentName[V]]
}

type recentName[V any] struct {
	name  string
	value V
}

func (t *recentTable[V]) slot(name string) *atomic.Pointer[recentName[V]] {
	return &t.slots[maphash.String(t.seed, name)%recentSlots]
}

func (r *recent[V]) get(name string) (V, bool) {
	if t := r.table.Load(); t != nil {
		if e := t.slot(name).Load(); e != nil && e.name == name {
			return e.value, true
		}
	}
	var none V
	return none, false
}

func (r *recent[V]) put(name string, v V) {
	t := r.table.Load()
	if t == nil {
		r.table.CompareAndSwap(nil, &recentTable[V]{seed: maphash.MakeSeed()})
		t = r.table.Load()
	}
	t.slot(name).Store(&recentName[V]{strings.Clone(name), v})
}
