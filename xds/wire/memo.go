package wire

import (
	"hash/maphash"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

// memo remembers endpoints that were walked and found right, by the hash of their
// bytes: an update of a large load assignment repeats most of them. An endpoint whose
// bytes come in another order is walked again, and remembered as well.
type memo struct {
	of   uint16 // the message whose walks are remembered
	mask uint64
	// sets hold up to ways endpoints each, a power of two of them.
	sets [][memoWays]memory
}

type memory struct {
	key, hash uint64
}

const (
	memoWays = 4
	// memoFrom is the size of an assignment from which on its endpoints are remembered.
	memoFrom = 32 << 10
	// memoMax bounds the sets: 1 MB of memory.
	memoMax = 1 << 14
)

// newMemo finds the message of an endpoint in the tables.
func newMemo() memo {
	field := func(m int, num uint64) int { return int(shape.Fields[fieldAt(&shape.Messages[m], num)].Msg) }
	assignment := rootOf([]byte("envoy.config.endpoint.v3.ClusterLoadAssignment"))
	return memo{of: uint16(field(field(assignment, 2), 2))} //nolint:gosec // an index of the tables
}

// grow makes room for the endpoints of an assignment of that size.
func (m *memo) grow(size int) {
	const endpoint = 100 // bytes, at least, of one in use
	sets := 1
	for sets < memoMax && sets*memoWays < 2*size/endpoint {
		sets *= 2
	}
	if sets > len(m.sets) {
		m.sets, m.mask = make([][memoWays]memory, sets), uint64(sets-1)
	}
}

func (m *memo) get(key uint64) (hash uint64, ok bool) {
	set := &m.sets[key&m.mask]
	for i := range set {
		if set[i].key == key {
			return set[i].hash, true
		}
	}
	return 0, false
}

func (m *memo) put(key, hash uint64) {
	set := &m.sets[key&m.mask]
	at := key >> 60 % memoWays
	for i := range set {
		if set[i].key == 0 {
			at = uint64(i) //nolint:gosec // small
			break
		}
	}
	set[at] = memory{key, hash}
}

// remembered walks a message of a load assignment, unless the same bytes were walked
// before.
func (w *Walker) remembered(d *shape.Field, val []byte) (uint64, error) {
	key := maphash.Bytes(w.checker.seed, val) | 1
	if hash, ok := w.memo.get(key); ok {
		return hash, nil
	}
	problems, ignored := len(w.problems), w.Ignored
	hash, err := w.message(int(d.Msg), val)
	if err == nil && len(w.problems) == problems && w.Ignored == ignored {
		w.memo.put(key, hash)
	}
	return hash, err
}
