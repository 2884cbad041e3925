package load

import (
	"math"
	"testing"
	"time"
)

// draw returns the gaps between n arrivals.
func draw(kind Arrival, seed uint64, n int) (times []time.Duration) {
	a := newArrivals(&Shape{Rate: 1000, Arrival: kind, Seed: seed})
	for range n {
		times = append(times, a.next())
	}
	return times
}

func TestArrivalsKeepTheRateAndVaryAsTheyShould(t *testing.T) {
	t.Parallel()
	const n = 50_000
	for _, tt := range []struct {
		name      string
		kind      Arrival
		deviation float64 // of the gaps, in gaps
	}{
		{"uniform", Uniform, math.Sqrt(1.0 / 6)}, // the difference of two uniform numbers
		{"poisson", Poisson, 1},
		{"steady", Steady, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			times := draw(tt.kind, 1, n)
			if got := float64(times[n-1]) / float64(n*time.Millisecond); math.Abs(got-1) > 0.02 {
				t.Errorf("got %v times the span that the rate asks for", got)
			}
			var squares float64
			for i := 1; i < n; i++ {
				gap := float64(times[i]-times[i-1]) / float64(time.Millisecond)
				if gap < 0 {
					t.Fatalf("request %d is due before the one before", i)
				}
				squares += (gap - 1) * (gap - 1)
			}
			if got := math.Sqrt(squares / n); math.Abs(got-tt.deviation) > 0.02 {
				t.Errorf("gaps deviate by %v, want %v", got, tt.deviation)
			}
		})
	}
}

func TestEqualSeedsGiveEqualTimes(t *testing.T) {
	t.Parallel()
	a, b, c := draw(Poisson, 1, 100), draw(Poisson, 1, 100), draw(Poisson, 2, 100)
	if a[99] != b[99] || a[99] == c[99] {
		t.Errorf("got %v, %v and with another seed %v", a[99], b[99], c[99])
	}
}
