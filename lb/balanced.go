package lb

import "math"

// balanced moves a key away from an endpoint that has more than its share of the
// requests in progress (consistent hashing with bounded loads, as Envoy's
// hash_balance_factor). The others are tried in an order that follows from the hash
// alone; where all have too much, the least laden counts.
func (t *table) balanced(h *Hint, hash uint64, at int) int {
	least := t.overload(h, at)
	if least <= 1 {
		return at
	}
	best := at
	order := make([]uint32, len(t.endpoints))
	for i := range order {
		order[i] = uint32(i) //nolint:gosec // a set never holds 2^32 endpoints
	}
	var r twister
	r.seed(uint32(hash)) //nolint:gosec // the lower half is meant
	for i := range order {
		j := i + int(r.below(uint32(len(order)-i))) //nolint:gosec // a set never holds 2^32 endpoints
		order[i], order[j] = order[j], order[i]
		other := int(order[i])
		if other == at {
			continue
		}
		load := t.overload(h, other)
		if load <= 1 {
			return other
		}
		if load < least {
			best, least = other, load
		}
	}
	return best
}

// overload is an endpoint's requests by the number that it may have.
func (t *table) overload(h *Hint, i int) float64 {
	total := ((h.Active+1)*int64(t.how.BalanceFactor) + 99) / 100
	slots := max(math.Ceil(float64(total)*t.weights[i]), 1)
	return float64(t.endpoints[i].Active()) / slots
}

// twister is MT19937 (Matsumoto and Nishimura, 1998), which Envoy's order is drawn
// from.
type twister struct {
	state [624]uint32
	at    int
}

func (t *twister) seed(s uint32) {
	for i := range t.state {
		t.state[i] = s
		s = 1812433253*(s^s>>30) + uint32(i) + 1 //nolint:gosec // less than 624
	}
	t.at = len(t.state)
}

func (t *twister) next() uint32 {
	const n, m = 624, 397
	if t.at == n {
		for i := range t.state {
			y := t.state[i]&0x80000000 | t.state[(i+1)%n]&0x7fffffff
			t.state[i] = t.state[(i+m)%n] ^ y>>1 ^ (y&1)*0x9908b0df
		}
		t.at = 0
	}
	y := t.state[t.at]
	t.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// below draws from [0, k), each number alike.
func (t *twister) below(k uint32) uint32 {
	part := uint32(1 << 32 / uint64(k)) //nolint:gosec // see next line
	if k == 1 {                         // 2^32 does not fit
		t.next()
		return 0
	}
	for {
		if x := t.next() / part; x < k {
			return x
		}
	}
}
