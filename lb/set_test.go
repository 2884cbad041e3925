package lb_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/lb"
)

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 8080)
}

// many makes n endpoints with addresses from first on.
func many(first, n int, edit func(i int, s *lb.EndpointSpec)) []lb.EndpointSpec {
	specs := make([]lb.EndpointSpec, n)
	for i := range specs {
		specs[i].Addr = addr(first + i)
		if edit != nil {
			edit(i, &specs[i])
		}
	}
	return specs
}

// spread picks n times without load and counts by endpoint address.
func spread(t *testing.T, s *lb.Set, n int) map[netip.AddrPort]int {
	t.Helper()
	got := make(map[netip.AddrPort]int)
	for range n {
		e, err := s.Pick(&lb.Hint{})
		if err != nil {
			t.Fatalf("pick: %v", err)
		}
		got[e.Addr()]++
	}
	return got
}

// near fails unless got is within five standard deviations of n draws with chance p.
func near(t *testing.T, what string, got, n int, p float64) {
	t.Helper()
	mean := float64(n) * p
	if dev := 5*math.Sqrt(float64(n)*p*(1-p)) + 1; math.Abs(float64(got)-mean) > dev {
		t.Errorf("%s: got %d of %d, want %.0f ± %.0f", what, got, n, mean, dev)
	}
}

func TestEmptySetHasNoEndpoint(t *testing.T) {
	t.Parallel()
	for _, threshold := range []float64{0, 50, 100} {
		s := lb.NewSet(nil, nil, lb.Policy{PanicThreshold: threshold})
		if _, err := s.Pick(&lb.Hint{}); !errors.Is(err, lb.ErrNoEndpoint) {
			t.Errorf("threshold %v: got %v, want ErrNoEndpoint", threshold, err)
		}
	}
}

func TestEndpointsSurviveUpdatesByAddress(t *testing.T) {
	t.Parallel()
	first := lb.NewSet(nil, many(1, 3, nil), lb.Policy{})
	kept := first.Endpoints()[1]
	kept.Acquire()
	kept.Attach("pool")
	second := lb.NewSet(first, many(2, 3, func(_ int, s *lb.EndpointSpec) {
		s.Weight = 7
		s.Health = lb.Draining
		s.Match = map[string]string{"tlsMode": "istio"}
	}), lb.Policy{})
	got := second.Endpoints()[0]
	if got != kept {
		t.Fatal("the endpoint lost its identity")
	}
	if got.Active() != 1 || got.Attachment() != "pool" {
		t.Errorf("got active %d, attachment %v; want 1, pool", got.Active(), got.Attachment())
	}
	if sp := got.Spec(); sp.Weight != 7 || sp.Health != lb.Draining || sp.Match["tlsMode"] != "istio" {
		t.Errorf("the endpoint did not see its new spec: %+v", sp)
	}
	if second.Len() != 3 || second.Endpoints()[2].Active() != 0 {
		t.Errorf("got %d endpoints", second.Len())
	}
}

func TestFirstOfEqualAddressesCounts(t *testing.T) {
	t.Parallel()
	s := lb.NewSet(nil, []lb.EndpointSpec{{Addr: addr(1), Weight: 3}, {Addr: addr(1), Weight: 9}}, lb.Policy{})
	if s.Len() != 1 || s.Endpoints()[0].Spec().Weight != 3 {
		t.Errorf("got %d endpoints, the first of weight %d", s.Len(), s.Endpoints()[0].Spec().Weight)
	}
}

// TestTrafficSplit checks how health and priorities share the traffic out.
func TestTrafficSplit(t *testing.T) {
	t.Parallel()
	const n = 20000
	type part struct {
		endpoints int
		health    lb.Health
		priority  uint32
		want      float64 // share of the traffic that the part gets, negative: none may be picked at all
	}
	tests := map[string]struct {
		policy lb.Policy
		parts  []part
	}{
		"unknown counts as healthy": {parts: []part{{2, lb.Unknown, 0, 0.5}, {2, lb.Healthy, 0, 0.5}}},
		"unhealthy and draining get nothing": {parts: []part{
			{2, lb.Healthy, 0, 1}, {3, lb.Unhealthy, 0, 0}, {3, lb.Draining, 0, 0},
		}},
		"lower priorities wait": {parts: []part{{2, lb.Healthy, 0, 1}, {8, lb.Healthy, 1, 0}}},
		// 140 * 8/10 = 112: still all of it.
		"overprovisioning bears a few losses": {parts: []part{
			{8, lb.Healthy, 0, 1}, {2, lb.Unhealthy, 0, 0}, {2, lb.Healthy, 1, 0},
		}},
		// 140 * 5/10 = 70.
		"too many losses spill over": {parts: []part{
			{5, lb.Healthy, 0, 0.7}, {5, lb.Unhealthy, 0, 0}, {2, lb.Healthy, 1, 0.3},
		}},
		"another factor": {policy: lb.Policy{Overprovisioning: 100}, parts: []part{
			{5, lb.Healthy, 0, 0.5}, {5, lb.Unhealthy, 0, 0}, {2, lb.Healthy, 1, 0.5},
		}},
		// 28 and 28 of 100 become 50 and 50.
		"what is left is scaled up": {parts: []part{
			{1, lb.Healthy, 0, 0.5}, {4, lb.Unhealthy, 0, 0}, {1, lb.Healthy, 1, 0.5}, {4, lb.Unhealthy, 1, 0},
		}},
		// 35 healthy and 105 → 100 degraded of 100: degraded take what healthy do not.
		"degraded help out":            {parts: []part{{1, lb.Healthy, 0, 0.35}, {3, lb.Degraded, 0, 0.65}}},
		"priorities need not be dense": {parts: []part{{1, lb.Unhealthy, 3, 0}, {1, lb.Healthy, 4000000000, 1}}},
		// 20% usable of each, below 50: everything by count.
		"total panic goes by count": {policy: lb.Policy{PanicThreshold: 50}, parts: []part{
			{1, lb.Healthy, 0, 0.1}, {4, lb.Unhealthy, 0, 0.4}, {1, lb.Healthy, 1, 0.1}, {4, lb.Unhealthy, 1, 0.4},
		}},
		"no panic while the priorities together suffice": {policy: lb.Policy{PanicThreshold: 50}, parts: []part{
			{1, lb.Healthy, 0, 0.28}, {4, lb.Unhealthy, 0, 0}, {4, lb.Healthy, 1, 0.72},
		}},
		// 28 + 70: priority 0 is in panic, priority 1 with 50% is not; 28/98 → 28%, 70/98 → 71%,
		// and the percent that rounding leaves goes to priority 0.
		"one priority panics": {policy: lb.Policy{PanicThreshold: 50}, parts: []part{
			{1, lb.Healthy, 0, 0.29 / 5}, {4, lb.Unhealthy, 0, 0.29 * 4 / 5}, {1, lb.Healthy, 1, 0.71}, {1, lb.Unhealthy, 1, 0},
		}},
		"all unhealthy in panic": {policy: lb.Policy{PanicThreshold: 1}, parts: []part{{3, lb.Unhealthy, 0, 1}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var specs []lb.EndpointSpec
			for i, p := range tt.parts {
				specs = append(specs, many(100*i, p.endpoints, func(_ int, s *lb.EndpointSpec) {
					s.Health, s.Priority = p.health, p.priority
				})...)
			}
			got := spread(t, lb.NewSet(nil, specs, tt.policy), n)
			for i, p := range tt.parts {
				sum := 0
				for e := range p.endpoints {
					sum += got[addr(100*i+e)]
				}
				near(t, fmt.Sprintf("part %d", i), sum, n, p.want)
			}
		})
	}
}

func TestNoPanicWithoutThreshold(t *testing.T) {
	t.Parallel()
	specs := many(1, 4, func(_ int, s *lb.EndpointSpec) { s.Health = lb.Unhealthy })
	if _, err := lb.NewSet(nil, specs, lb.Policy{}).Pick(&lb.Hint{}); !errors.Is(err, lb.ErrNoEndpoint) {
		t.Errorf("got %v, want ErrNoEndpoint", err)
	}
}

func TestPanicIsReported(t *testing.T) {
	t.Parallel()
	specs := many(1, 4, func(_ int, s *lb.EndpointSpec) { s.Health = lb.Unhealthy })
	h := lb.Hint{}
	if _, err := lb.NewSet(nil, specs, lb.Policy{PanicThreshold: 50}).Pick(&h); err != nil || !h.Panicked {
		t.Errorf("got %v, panicked %v", err, h.Panicked)
	}
	if _, err := lb.NewSet(nil, many(1, 1, nil), lb.Policy{PanicThreshold: 50}).Pick(&h); err != nil || h.Panicked {
		t.Errorf("got %v, panicked %v", err, h.Panicked)
	}
}

func TestPoliciesSpreadByWeight(t *testing.T) {
	t.Parallel()
	const n = 12000
	weights := []uint32{1, 2, 0, 8} // 0 counts as 1
	for kind, want := range map[lb.Kind][]float64{
		lb.LeastRequest: {1. / 12, 2. / 12, 1. / 12, 8. / 12},
		lb.RoundRobin:   {1. / 12, 2. / 12, 1. / 12, 8. / 12},
		lb.Random:       {.25, .25, .25, .25}, // Envoy's random does not look at weights
	} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			got := spread(t, lb.NewSet(nil, many(0, 4, func(i int, s *lb.EndpointSpec) {
				s.Weight = weights[i]
			}), lb.Policy{Kind: kind}), n)
			for i, w := range want {
				near(t, addr(i).String(), got[addr(i)], n, w)
			}
		})
	}
}

func TestWeightsAreReadAtPickTime(t *testing.T) {
	t.Parallel()
	set := lb.NewSet(nil, many(0, 2, func(i int, s *lb.EndpointSpec) {
		s.Weight = uint32(i + 1)
	}), lb.Policy{Kind: lb.RoundRobin})
	spread(t, set, 30)
	lb.NewSet(set, many(0, 2, func(i int, s *lb.EndpointSpec) {
		s.Weight = uint32(9 - 8*i)
	}), lb.Policy{Kind: lb.RoundRobin})
	if got := spread(t, set, 1000)[addr(0)]; got < 890 || got > 910 {
		t.Errorf("got %d of 1000 for weight 9 against 1", got)
	}
}

func TestRoundRobinGoesOnAcrossUpdates(t *testing.T) {
	t.Parallel()
	p := lb.Policy{Kind: lb.RoundRobin}
	set := lb.NewSet(nil, many(0, 4, nil), p)
	pick := func() netip.AddrPort {
		e, err := set.Pick(&lb.Hint{})
		if err != nil {
			t.Fatal(err)
		}
		return e.Addr()
	}
	last := pick()
	for range 20 {
		set = lb.NewSet(set, many(0, 4, nil), p)
		got := pick()
		want := addr((int(last.Addr().As4()[3]) + 1) % 4)
		if got != want {
			t.Fatalf("after an update: got %v, want %v after %v", got, want, last)
		}
		last = got
	}
}

func TestAnotherPolicyKeepsEndpoints(t *testing.T) {
	t.Parallel()
	set := lb.NewSet(nil, many(0, 3, func(i int, s *lb.EndpointSpec) { s.Weight = uint32(i + 1) }), lb.Policy{Kind: lb.Random})
	other := set.With(lb.Policy{Kind: lb.RoundRobin})
	if other.Endpoints()[2] != set.Endpoints()[2] || other.Policy().Kind != lb.RoundRobin {
		t.Error("the endpoints or the policy are others")
	}
	near(t, "weight 3 of 6", spread(t, other, 600)[addr(2)], 600, 0.5)
}

func TestUpdateMayReorderAndRepeat(t *testing.T) {
	t.Parallel()
	set := lb.NewSet(nil, many(0, 3, nil), lb.Policy{})
	specs := []lb.EndpointSpec{{Addr: addr(2)}, {Addr: addr(7)}, {Addr: addr(2)}, {Addr: addr(0)}, {Addr: addr(7)}}
	got := lb.NewSet(set, specs, lb.Policy{}).Endpoints()
	if len(got) != 3 || got[0] != set.Endpoints()[2] || got[1].Addr() != addr(7) || got[2] != set.Endpoints()[0] {
		t.Errorf("got %v", got)
	}
}

func TestRoundRobinStartsAnywhere(t *testing.T) {
	t.Parallel()
	seen := make(map[netip.AddrPort]bool)
	for range 400 {
		e, err := lb.NewSet(nil, many(0, 4, nil), lb.Policy{Kind: lb.RoundRobin}).Pick(&lb.Hint{})
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Addr()] = true
	}
	if len(seen) != 4 {
		t.Errorf("400 fresh sets started at %d of 4 endpoints", len(seen))
	}
}

func TestLeastRequestPrefersTheIdle(t *testing.T) {
	t.Parallel()
	const n = 16000
	for choices, want := range map[int]float64{
		0: 7. / 16, // two draws of four: the idle one is among them
		1: 4. / 16,
		4: 175. / 256,
		5: 781. / 1024,
	} {
		t.Run(fmt.Sprintf("%d choices", choices), func(t *testing.T) {
			t.Parallel()
			set := lb.NewSet(nil, many(0, 4, nil), lb.Policy{ChoiceCount: choices})
			for _, e := range set.Endpoints()[1:] {
				e.Acquire()
			}
			near(t, "idle endpoint", spread(t, set, n)[addr(0)], n, want)
		})
	}
}

func TestWeightedLeastRequestDividesByActive(t *testing.T) {
	t.Parallel()
	set := lb.NewSet(nil, many(0, 2, func(i int, s *lb.EndpointSpec) { s.Weight = uint32(1 + i) }), lb.Policy{})
	busy := set.Endpoints()[1] // weight 2, and three requests: counts 2/4 against 1
	for range 3 {
		busy.Acquire()
	}
	spread(t, set, 100)
	if got := spread(t, set, 300)[busy.Addr()]; got < 98 || got > 102 {
		t.Errorf("the busy endpoint got %d of 300, want 100", got)
	}
}

func TestRetryNeverReturnsToADeadEndpointWhileAnotherIsLeft(t *testing.T) {
	t.Parallel()
	for _, kind := range []lb.Kind{lb.LeastRequest, lb.RoundRobin, lb.Random} {
		set := lb.NewSet(nil, many(0, 3, nil), lb.Policy{Kind: kind})
		all := set.Endpoints()
		all[1].Acquire() // least request prefers the one that fails fast
		all[2].Acquire()
		for range 1000 {
			e, err := set.Pick(&lb.Hint{Tried: all[:1], MaxPicks: 2})
			if err != nil || e == all[0] {
				t.Fatalf("%v: picked the endpoint that was tried (%v)", kind, err)
			}
		}
	}
}

func TestTriedEndpointsAreAvoided(t *testing.T) {
	t.Parallel()
	set := lb.NewSet(nil, many(0, 3, nil), lb.Policy{Kind: lb.RoundRobin})
	all := set.Endpoints()
	for range 30 {
		e, err := set.Pick(&lb.Hint{Tried: all[:2], MaxPicks: 3})
		if err != nil || e != all[2] {
			t.Fatalf("got %v, %v; want the endpoint that was not tried", e.Addr(), err)
		}
	}
	e, err := set.Pick(&lb.Hint{Tried: all, MaxPicks: 6})
	if err != nil || e == nil {
		t.Errorf("the last pick must stand even if it was tried: %v, %v", e, err)
	}
}

func TestLocalitiesShareByWeight(t *testing.T) {
	t.Parallel()
	const n = 20000
	// east: weight 1, all healthy; west: weight 3, one of four healthy: 3 * 1.4/4 = 1.05; north is excluded.
	specs := many(0, 2, func(_ int, s *lb.EndpointSpec) { s.Locality, s.LocalityWeight = "east", 1 })
	specs = append(specs, many(100, 4, func(i int, s *lb.EndpointSpec) {
		s.Locality, s.LocalityWeight = "west", 3
		if i > 0 {
			s.Health = lb.Unhealthy
		}
	})...)
	specs = append(specs, many(200, 2, func(_ int, s *lb.EndpointSpec) { s.Locality = "north" })...)
	for _, kind := range []lb.Kind{lb.LeastRequest, lb.RoundRobin, lb.Random} {
		got := spread(t, lb.NewSet(nil, specs, lb.Policy{Kind: kind, LocalityWeighted: true}), n)
		near(t, kind.String()+" east", got[addr(0)]+got[addr(1)], n, 1/2.05)
		near(t, kind.String()+" west", got[addr(100)], n, 1.05/2.05)
		if got[addr(200)]+got[addr(201)] > 0 {
			t.Errorf("%v: a locality without weight got traffic", kind)
		}
	}
	got := spread(t, lb.NewSet(nil, specs, lb.Policy{Kind: lb.Random}), n)
	near(t, "not weighted: north", got[addr(200)]+got[addr(201)], n, 2./5)
}

func TestAnEjectedEndpointIsNotPickedAndCountsForPanic(t *testing.T) {
	t.Parallel()
	set := lb.NewSet(nil, many(0, 4, nil), lb.Policy{Kind: lb.RoundRobin, PanicThreshold: 50})
	out := set.Endpoints()[0]
	out.SetEjected(true)
	set = set.Rebuild()
	for range 40 {
		h := lb.Hint{}
		if e, err := set.Pick(&h); err != nil || e == out || h.Panicked {
			t.Fatalf("got %v, %v, panicked %v", e, err, h.Panicked)
		}
	}
	if _, healthy, _ := set.Standing(); healthy != 3 || out.Health() != lb.Unhealthy {
		t.Errorf("got %d healthy, ejected is %v", healthy, out.Health())
	}
	for _, e := range set.Endpoints()[:3] {
		e.SetEjected(true)
	}
	h := lb.Hint{}
	if _, err := set.Rebuild().Pick(&h); err != nil || !h.Panicked {
		t.Errorf("one of four: got %v, panicked %v", err, h.Panicked)
	}
	out.SetEjected(false)
	if _, healthy, _ := set.Rebuild().Standing(); healthy != 2 {
		t.Errorf("got %d healthy after the return, want 2", healthy)
	}
}

func TestEjectionSurvivesUpdates(t *testing.T) {
	t.Parallel()
	set := lb.NewSet(nil, many(0, 2, nil), lb.Policy{})
	set.Endpoints()[1].SetEjected(true)
	set = lb.NewSet(set, many(0, 3, nil), lb.Policy{})
	if _, healthy, _ := set.Standing(); healthy != 2 {
		t.Errorf("got %d healthy of three, want 2", healthy)
	}
}
