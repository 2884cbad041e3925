package load_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/load"
)

// exact is the least value that at least the share q does not exceed.
func exact(sorted []time.Duration, q float64) time.Duration {
	i := 0
	for float64(i+1) < q*float64(len(sorted))-1e-6 {
		i++
	}
	return sorted[i]
}

func TestQuantilesAreWithinABucketOfTheExactOnes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		draw func(*rand.Rand) time.Duration
	}{
		{"nanoseconds", func(r *rand.Rand) time.Duration { return time.Duration(r.IntN(200)) }},
		{"milliseconds", func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * 1e6) }},
		{"a long tail", func(r *rand.Rand) time.Duration { return time.Duration(1 << r.IntN(39)) }},
		{"all alike", func(*rand.Rand) time.Duration { return 12345 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 2))
			var parts [2]load.Histogram
			var all []time.Duration
			for i := range 20_000 {
				d := tt.draw(r)
				parts[i%2].Record(d)
				all = append(all, d)
			}
			h := &parts[0]
			h.Merge(&parts[1])
			slices.Sort(all)
			for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
				got, want := h.Quantile(q), exact(all, q)
				if got < want || float64(got) > float64(want)*(1+1.0/128) {
					t.Errorf("quantile %v: got %d, want %d", q, got, want)
				}
			}
			if h.Count() != 20_000 || h.Min() != all[0] || h.Max() != all[len(all)-1] {
				t.Errorf("got %d from %v to %v", h.Count(), h.Min(), h.Max())
			}
		})
	}
}

func TestHistogramTakesWhatIsOutOfItsRange(t *testing.T) {
	t.Parallel()
	var h load.Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("got %v of nothing", got)
	}
	h.Record(-time.Second)
	h.Record(time.Hour)
	if got := h.Quantile(1); got < 18*time.Minute || h.Min() != 0 {
		t.Errorf("got %v and least %v", got, h.Min())
	}
}

func TestHistogramTravelsAsJSON(t *testing.T) {
	t.Parallel()
	var h, got load.Histogram
	for i := range 1000 {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	text, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil || got != h {
		t.Errorf("it came back changed (%v)", err)
	}
	for _, bad := range []string{`{"Counts":[[999999,1]]}`, `{"Counts":[[1,99999999999]]}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestMeanIsExact(t *testing.T) {
	t.Parallel()
	var h load.Histogram
	h.Record(1001)
	h.Record(3003)
	if got := h.Mean(); got != 2002 {
		t.Errorf("got %v, want 2002ns", got)
	}
}
