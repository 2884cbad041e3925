package lb

import (
	"net/netip"
	"testing"
)

// FuzzAdopt holds the short cut for updates that change little against looking
// everything up.
func FuzzAdopt(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, []byte{1, 2, 3, 4})
	f.Add([]byte{1, 2, 3, 4}, []byte{1, 2, 9, 4})
	f.Add([]byte{1, 2, 3, 4}, []byte{1, 4})
	f.Add([]byte{1, 2, 3, 4}, []byte{1, 2, 5, 2, 3, 4})
	f.Add([]byte{1, 2, 3, 4}, []byte{1, 4, 3, 4})
	f.Add([]byte{1, 1, 2}, []byte{2, 1, 1, 2})
	f.Add([]byte{}, []byte{7, 7})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		specs := func(b []byte) []*EndpointSpec {
			var out []*EndpointSpec
			for i, n := range b {
				addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80)
				out = append(out, &EndpointSpec{Addr: addr, Weight: uint32(i)})
			}
			return out
		}
		prev := Follow(nil, specs(first), Policy{})
		old := make(map[*Endpoint]bool)
		for _, e := range prev.Endpoints() {
			old[e] = true
		}
		next := specs(second)
		got := adopt(prev, next)
		weights := make([]uint32, len(got))
		for i, e := range got {
			weights[i] = e.weight.Load()
		}
		want := adoptAny(prev.endpoints, next)
		if len(got) != len(want) {
			t.Fatalf("%v to %v: got %d endpoints, want %d", first, second, len(got), len(want))
		}
		for i, e := range got {
			if e.id != want[i].id || weights[i] != want[i].weight.Load() || old[want[i]] != old[e] {
				t.Errorf("%v to %v: endpoint %d is %v of weight %d, want %v of weight %d", first, second, i, e.id, weights[i], want[i].id, want[i].weight.Load())
			}
		}
	})
}
