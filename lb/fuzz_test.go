package lb_test

import (
	"errors"
	"testing"

	"github.com/outrigger-mesh/outrigger/lb"
)

// FuzzSet builds two sets one after the other from arbitrary specs and holds their
// picks against rules that can be told without the arithmetic of loads.
func FuzzSet(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 2, 1, 0, 0, 3, 2, 1, 9}, []byte{1, 2, 0, 0, 2, 2, 0, 0}, byte(0), byte(0))
	f.Add([]byte{1, 4, 0, 0, 2, 0, 0, 7, 2, 0, 0, 7}, []byte{2, 2, 1, 1}, byte(5), byte(50))
	f.Add([]byte{}, []byte{9, 1, 1, 1}, byte(2), byte(100))
	f.Fuzz(func(t *testing.T, first, second []byte, how, threshold byte) {
		p := lb.Policy{Kind: lb.Kind(how % 4), ChoiceCount: int(how / 4 % 4), LocalityWeighted: how&0x80 != 0, PanicThreshold: float64(threshold)}
		var set *lb.Set
		for _, b := range [][]byte{first, second} {
			specs := decode(b)
			set = lb.NewSet(set, specs, p)
			checkPicks(t, set, p)
		}
		checkPicks(t, set.With(lb.Policy{Kind: lb.RoundRobin}), lb.Policy{})
	})
}

// decode makes a spec of every four bytes.
func decode(b []byte) []lb.EndpointSpec {
	var specs []lb.EndpointSpec
	for ; len(b) >= 4 && len(specs) < 200; b = b[4:] {
		specs = append(specs, lb.EndpointSpec{
			Addr: addr(int(b[0] % 64)), Health: lb.Health(b[1] % 5), Priority: uint32(b[2] % 4), Weight: uint32(b[3]),
			Locality: string(rune('a' + b[3]%3)), LocalityWeight: uint32(b[3] % 3),
		})
	}
	return specs
}

func checkPicks(t *testing.T, set *lb.Set, p lb.Policy) {
	t.Helper()
	member, usable := make(map[*lb.Endpoint]bool), 0
	for _, e := range set.Endpoints() {
		if member[e] {
			t.Fatalf("%v is in the set twice", e.Addr())
		}
		member[e] = true
		if mayServe(e) {
			usable++
		}
	}
	for range 50 {
		h := lb.Hint{Tried: set.Endpoints()[:set.Len()/2], MaxPicks: 2}
		e, err := set.Pick(&h)
		if err != nil {
			if !errors.Is(err, lb.ErrNoEndpoint) {
				t.Fatalf("got %v", err)
			}
			// One usable endpoint of 64 is still 2% of its priority.
			if usable > 0 && !p.LocalityWeighted {
				t.Fatalf("no endpoint though %d are usable", usable)
			}
			continue
		}
		switch {
		case !member[e]:
			t.Fatalf("%v is not in the set", e.Addr())
		case !mayServe(e) && !h.Panicked:
			t.Fatalf("%v is %v and was picked without panic", e.Addr(), e.Spec().Health)
		case h.Panicked && p.PanicThreshold == 0:
			t.Fatal("panic without a threshold")
		}
		e.Acquire()
	}
}

func mayServe(e *lb.Endpoint) bool {
	h := e.Spec().Health
	return h != lb.Unhealthy && h != lb.Draining
}
