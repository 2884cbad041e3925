package lb

import (
	"cmp"
	"math"
	"slices"
	"strconv"
)

// buildRing lays the ring of Envoy's ring_hash policy, a ketama ring: an endpoint
// stands on it as often as its weight says, at the hashes of its key with "_0", "_1"
// and so on.
func (t *table) buildRing() *index {
	least := 1.0
	for _, w := range t.weights {
		least = min(least, w)
	}
	// The lightest endpoint gets a whole number of places.
	scale := min(math.Ceil(least*float64(t.how.MinRing))/least, float64(t.how.MaxRing))
	type place struct {
		hash  uint64
		owner uint32
	}
	places := make([]place, 0, int(math.Ceil(scale)))
	var current, target float64
	var key []byte
	for i, w := range t.weights {
		key = append(t.appendKey(key[:0], i), '_')
		prefix := len(key)
		target += scale * w
		for n := uint64(0); current < target; n++ {
			key = strconv.AppendUint(key[:prefix], n, 10)
			places = append(places, place{t.ringHash(key), uint32(i)}) //nolint:gosec // a set never holds 2^32 endpoints
			current++
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.hash, b.hash) })
	x := &index{ring: make([]uint64, len(places)), owners: newOwners(len(places), len(t.endpoints))}
	for i, p := range places {
		x.ring[i] = p.hash
		x.owners.set(i, int(p.owner))
	}
	return x
}

func (t *table) ringHash(key []byte) uint64 {
	if t.how.Murmur {
		return murmur2(key, murmurSeed)
	}
	return Hash(key, 0)
}
