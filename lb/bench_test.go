package lb_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
)

// cases are the ways to pick whose cost matters.
func cases(n int) map[string]*lb.Set {
	weighted := func(i int, s *lb.EndpointSpec) { s.Weight = uint32(i%10 + 1) }
	spread := func(i int, s *lb.EndpointSpec) {
		s.Priority, s.Health = uint32(i%2), lb.Health(1+i/2%2)
		s.Locality, s.LocalityWeight = strconv.Itoa(i%3), uint32(i%3+1)
	}
	return map[string]*lb.Set{
		"least":       lb.NewSet(nil, many(0, n, nil), lb.Policy{}),
		"least-edf":   lb.NewSet(nil, many(0, n, weighted), lb.Policy{}),
		"robin":       lb.NewSet(nil, many(0, n, nil), lb.Policy{Kind: lb.RoundRobin}),
		"robin-edf":   lb.NewSet(nil, many(0, n, weighted), lb.Policy{Kind: lb.RoundRobin}),
		"random":      lb.NewSet(nil, many(0, n, nil), lb.Policy{Kind: lb.Random}),
		"ring":        lb.NewSet(nil, many(0, n, nil), lb.Policy{Kind: lb.RingHash}),
		"maglev":      lb.NewSet(nil, many(0, n, nil), lb.Policy{Kind: lb.Maglev}),
		"slow":        lb.NewSet(nil, many(0, n, nil), lb.Policy{Kind: lb.RoundRobin, SlowStart: lb.SlowStart{Window: time.Hour, Aggression: 2}}),
		"prioritised": lb.NewSet(nil, many(0, n, spread), lb.Policy{LocalityWeighted: true}),
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 10, 10000} {
		for name, set := range cases(n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				h := lb.Hint{}
				for b.Loop() {
					e, err := set.Pick(&h)
					if err != nil {
						b.Fatal(err)
					}
					e.Acquire()
					e.Release()
				}
			})
			b.Run(fmt.Sprintf("%s/%d/parallel", name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					h := lb.Hint{}
					for pb.Next() {
						if _, err := set.Pick(&h); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func BenchmarkNewSet(b *testing.B) {
	for _, kind := range []lb.Kind{lb.LeastRequest, lb.RingHash, lb.Maglev} {
		for _, n := range []int{10, 10000} {
			b.Run(fmt.Sprintf("%v/%d", kind, n), func(b *testing.B) {
				p := lb.Policy{Kind: kind}
				with := [2][]lb.EndpointSpec{many(0, n, nil), many(1, n, nil)}
				prev := lb.NewSet(nil, with[0], p)
				b.ReportAllocs()
				for i := 1; b.Loop(); i++ {
					if _, err := prev.Pick(&lb.Hint{}); err != nil {
						b.Fatal(err)
					}
					prev = lb.NewSet(prev, with[i%2], p)
				}
			})
		}
	}
}
