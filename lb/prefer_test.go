package lb_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
)

func TestARequestMayNameItsEndpoint(t *testing.T) {
	t.Parallel()
	specs := many(0, 5, func(i int, s *lb.EndpointSpec) { s.Health = lb.Health(i) }) // each state once
	for _, tt := range []struct {
		name     string
		override lb.HealthSet
		want     []bool // by state: the endpoint is taken
	}{
		{"by default", 0, []bool{true, true, false, false, true}},
		{"draining, too", lb.Healths(lb.Healthy, lb.Draining), []bool{false, true, false, true, false}},
	} {
		for _, kind := range []lb.Kind{lb.LeastRequest, lb.RoundRobin, lb.Maglev} {
			set := lb.NewSet(nil, specs, lb.Policy{Kind: kind, Override: tt.override})
			for i, want := range tt.want {
				h := lb.Hint{Prefer: addr(i), Strict: true}
				e, err := set.Pick(&h)
				if got := err == nil && e.Addr() == addr(i); got != want {
					t.Errorf("%s, %v: an endpoint that is %v: got %v, want %v", tt.name, kind, lb.Health(i), got, want)
				}
				if _, err := set.Pick(&lb.Hint{Prefer: addr(i)}); err != nil {
					t.Errorf("%s, %v: who is not strict gets another: %v", tt.name, kind, err)
				}
			}
			if _, err := set.Pick(&lb.Hint{Prefer: addr(99), Strict: true}); err == nil {
				t.Errorf("%s, %v: an address that is none of the cluster's was picked", tt.name, kind)
			}
		}
	}
}

// TestNewEndpointsStartSlowly adds an endpoint to one that is warm.
func TestNewEndpointsStartSlowly(t *testing.T) {
	t.Parallel()
	for _, kind := range []lb.Kind{lb.RoundRobin, lb.LeastRequest} {
		for _, tt := range []struct {
			name       string
			aggression float64
			age        time.Duration
			want       float64 // weight against 1 of the warm one
		}{
			{"at first", 1, time.Second, 0.1},
			{"half way", 1, 30 * time.Second, 0.5},
			{"half way, aggressively", 2, 15 * time.Second, 0.5},
			{"in the end", 1, 60 * time.Second, 1},
		} {
			t.Run(kind.String()+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					p := lb.Policy{Kind: kind, SlowStart: lb.SlowStart{Window: time.Minute, Aggression: tt.aggression, MinPercent: 10}}
					set := lb.NewSet(nil, many(0, 1, nil), p)
					time.Sleep(2 * time.Minute)
					set = lb.NewSet(set, many(0, 2, nil), p)
					time.Sleep(tt.age)
					const n = 3000
					spread(t, set, 100)
					near(t, "the new endpoint", spread(t, set, n)[addr(1)], n, tt.want/(1+tt.want))
				})
			})
		}
	}
}

func TestPanicMayBeRefused(t *testing.T) {
	t.Parallel()
	specs := many(0, 4, func(i int, s *lb.EndpointSpec) {
		if i > 0 {
			s.Health = lb.Unhealthy
		}
	})
	h := lb.Hint{}
	if _, err := lb.NewSet(nil, specs, lb.Policy{PanicThreshold: 50, FailOnPanic: true}).Pick(&h); err == nil || !h.Panicked {
		t.Errorf("got %v, panicked %v; want no endpoint, in panic", err, h.Panicked)
	}
}

// TestSchedulesGoOnAcrossUpdates: weights that change live do not make a burst.
func TestSchedulesGoOnAcrossUpdates(t *testing.T) {
	t.Parallel()
	p := lb.Policy{Kind: lb.RoundRobin}
	weighed := func(heavy int) []lb.EndpointSpec {
		return many(0, 20, func(i int, s *lb.EndpointSpec) {
			if s.Weight = 1; i == heavy {
				s.Weight = 3
			}
		})
	}
	set := lb.NewSet(nil, weighed(0), p)
	run, longest := 0, 0
	var last *lb.Endpoint
	for i := range 2000 {
		if i%7 == 0 {
			set = lb.NewSet(set, weighed(i/7%20), p)
		}
		e, err := set.Pick(&lb.Hint{})
		if err != nil {
			t.Fatal(err)
		}
		if run++; e != last {
			run, last = 1, e
		}
		longest = max(longest, run)
	}
	if longest > 2 {
		t.Errorf("one endpoint was picked %d times in a row", longest)
	}
}
