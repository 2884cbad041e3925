package lb

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Envoy's bounds of a ring, and the size of its Maglev tables.
const (
	DefaultMinRing   = 1024
	DefaultMaxRing   = 8 << 20
	DefaultTableSize = 65537
)

// Hashing says how RingHash and Maglev spread keys.
type Hashing struct {
	// MinRing and MaxRing bound the entries of a ring; 0 means 1024 and 8M.
	MinRing, MaxRing uint64
	// TableSize is the number of entries of a Maglev table, a prime; 0 means 65537.
	TableSize uint32
	// Murmur builds rings with MurmurHash2 instead of XXH64.
	Murmur bool
	// ByHostname hashes the names of endpoints that have one, not their addresses.
	ByHostname bool
	// BalanceFactor is the percentage of the average load that an endpoint may have
	// before keys go elsewhere; 0 is no bound.
	BalanceFactor uint32
}

func (h Hashing) withDefaults() Hashing {
	if h.MinRing == 0 {
		h.MinRing = DefaultMinRing
	}
	if h.MaxRing == 0 {
		h.MaxRing = DefaultMaxRing
	}
	if h.TableSize == 0 {
		h.TableSize = DefaultTableSize
	}
	return h
}

// table spreads keys over the endpoints of a priority. It is built when it is first
// picked from, or by the update that follows a table which was in use; a later set
// whose endpoints, keys and weights are the same takes the table over.
type table struct {
	// immutable
	kind      Kind
	how       Hashing
	endpoints []*Endpoint
	weights   []float64 // normalised: they add up to 1
	keys      []string  // what is hashed instead of the address; nil: addresses all

	mu    sync.Mutex // of building
	index atomic.Pointer[index]
}

// index is a table that was built.
type index struct {
	// ring has the sorted hashes of a ring, owners who stands at each; a Maglev table
	// has owners alone.
	ring   []uint64
	owners owners
}

// owners are positions in a table's endpoints, as narrow as their number allows.
type owners struct {
	narrow []uint16
	wide   []uint32
}

func newOwners(n, endpoints int) owners {
	if endpoints <= 1<<16 {
		return owners{narrow: make([]uint16, n)}
	}
	return owners{wide: make([]uint32, n)}
}

func (o *owners) set(i, owner int) {
	if o.narrow != nil {
		o.narrow[i] = uint16(owner) //nolint:gosec // newOwners saw to it
		return
	}
	o.wide[i] = uint32(owner) //nolint:gosec // a set never holds 2^32 endpoints
}

func (o *owners) at(i int) int {
	if o.narrow != nil {
		return int(o.narrow[i])
	}
	return int(o.wide[i])
}

// newTable takes prev over where it would be the same.
func newTable(prev *table, t *table) *table {
	if prev == nil {
		return t
	}
	if prev.kind == t.kind && prev.how == t.how && slices.Equal(prev.endpoints, t.endpoints) &&
		slices.Equal(prev.weights, t.weights) && slices.Equal(prev.keys, t.keys) {
		return prev
	}
	if prev.index.Load() != nil { // whoever picks next shall not wait
		t.built()
	}
	return t
}

// built returns the index, making it where it is not there yet.
func (t *table) built() *index {
	if x := t.index.Load(); x != nil {
		return x
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.index.Load(); x != nil {
		return x
	}
	var x *index
	if t.kind == Maglev {
		x = t.buildMaglev()
	} else {
		x = t.buildRing()
	}
	t.index.Store(x)
	return x
}

// pick returns the endpoint of a hash, or another one for each further attempt.
func (t *table) pick(h *Hint, hash uint64, attempt int) *Endpoint {
	if len(t.endpoints) == 0 {
		return nil
	}
	at := t.built().find(hash, attempt)
	if t.how.BalanceFactor != 0 {
		at = t.balanced(h, hash, at)
	}
	return t.endpoints[at]
}

func (x *index) find(hash uint64, attempt int) int {
	if x.ring == nil {
		hash ^= -uint64(attempt)                                                              //nolint:gosec // not negative; nothing for the first attempt
		return x.owners.at(int(hash % uint64(max(len(x.owners.narrow), len(x.owners.wide))))) //nolint:gosec // less than the size
	}
	at, _ := slices.BinarySearch(x.ring, hash)
	return x.owners.at((at + attempt) % len(x.ring))
}

// appendKey appends what is hashed of an endpoint.
func (t *table) appendKey(to []byte, i int) []byte {
	if t.keys != nil && t.keys[i] != "" {
		return append(to, t.keys[i]...)
	}
	e := t.endpoints[i]
	if a := e.Addr(); a.IsValid() {
		return a.AppendTo(to)
	}
	return append(to, e.Spec().Name...)
}

// keysOf returns what is hashed instead of addresses, or nil.
func keysOf(endpoints []*Endpoint, how *Hashing) []string {
	var keys []string
	for i, e := range endpoints {
		key := e.Spec().HashKey
		if key == "" && how.ByHostname {
			key = e.Spec().Hostname
		}
		if key == "" {
			continue
		}
		if keys == nil {
			keys = make([]string, len(endpoints))
		}
		keys[i] = key
	}
	return keys
}

// weighting collects endpoints with their normalised weights.
type weighting struct {
	endpoints []*Endpoint
	weights   []float64
}

// add shares part, at most 1, among endpoints by their weights. The arithmetic is
// Envoy's to the last bit: it decides who gets the odd entry of a ring.
func (w *weighting) add(endpoints []*Endpoint, part float64) {
	var sum uint64
	for _, e := range endpoints {
		sum += uint64(e.Spec().weight())
	}
	for _, e := range endpoints {
		w.endpoints = append(w.endpoints, e)
		w.weights = append(w.weights, float64(e.Spec().weight())*part/float64(sum))
	}
}
