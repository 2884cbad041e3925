package lb

import (
	"bytes"
	"slices"
)

// buildMaglev fills the table of Envoy's maglev policy: the endpoints, sorted by key,
// take turns, as often as their weights say, in taking the next place of their own
// permutation that is free (Maglev, NSDI 2016, section 3.4).
func (t *table) buildMaglev() *index {
	size := uint64(t.how.TableSize)
	entries := t.maglevEntries(size)
	heaviest := 0.0
	for _, w := range t.weights {
		heaviest = max(heaviest, w)
	}
	x := &index{owners: newOwners(int(size), len(t.endpoints))} //nolint:gosec // 32 bits
	taken := make([]uint64, size/64+1)                          // bits, so that they stay in the nearest cache
	for turn, left := uint32(1), size; left > 0; turn++ {
		for i := range entries {
			e := &entries[i]
			if float64(turn)*e.weight < e.target {
				continue
			}
			e.target += heaviest
			at := e.next
			for taken[at/64]>>(at%64)&1 != 0 {
				if at += e.skip; at >= size {
					at -= size
				}
			}
			taken[at/64] |= 1 << (at % 64)
			x.owners.set(int(at), e.owner) //nolint:gosec // less than the size
			if e.next = at + e.skip; e.next >= size {
				e.next -= size
			}
			if left--; left == 0 {
				break
			}
		}
	}
	return x
}

// maglevEntry is an endpoint while a table is filled.
type maglevEntry struct {
	owner          int
	next, skip     uint64
	weight, target float64
}

func (t *table) maglevEntries(size uint64) []maglevEntry {
	var text []byte
	keys := make([][]byte, len(t.endpoints))
	ends := make([]int, len(t.endpoints))
	for i := range t.endpoints {
		text = t.appendKey(text, i)
		ends[i] = len(text)
	}
	order := make([]int, len(t.endpoints))
	begin := 0
	for i, end := range ends {
		keys[i], order[i] = text[begin:end], i
		begin = end
	}
	slices.SortStableFunc(order, func(a, b int) int { return bytes.Compare(keys[a], keys[b]) })
	entries := make([]maglevEntry, len(order))
	for i, o := range order {
		entries[i] = maglevEntry{
			owner: o, next: Hash(keys[o], 0) % size, skip: Hash(keys[o], 1)%(size-1) + 1, weight: t.weights[o],
		}
	}
	return entries
}
