package metrics

import (
	"slices"
	"sync/atomic"
	"time"
)

// bounds are the upper limits of Envoy's default buckets, in milliseconds.
var bounds = [...]float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000,
	300000, 600000, 1800000, 3600000,
}

// Histogram counts durations in Envoy's default buckets. The zero value is ready.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // the last one has no limit
	sum     atomic.Uint64                  // microseconds
}

// Observe adds a duration.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	// The index is found from below: most durations are in the first buckets.
	ms, i := float64(d)/float64(time.Millisecond), 0
	for i < len(bounds) && ms > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(d / time.Microsecond)) //nolint:gosec // not negative
}

// reading is a histogram at one moment; counts are cumulative.
type reading struct {
	counts [len(bounds) + 1]uint64
	sum    float64 // milliseconds
}

func (h *Histogram) read() reading {
	var r reading
	var total uint64
	for i := range h.buckets {
		total += h.buckets[i].Load()
		r.counts[i] = total
	}
	r.sum = float64(h.sum.Load()) / 1000
	return r
}

func (r *reading) count() uint64 { return r.counts[len(bounds)] }

// quantile estimates a quantile by its bucket, linearly.
func (r *reading) quantile(q float64) float64 {
	rank := q * float64(r.count())
	i, _ := slices.BinarySearchFunc(r.counts[:], rank, func(c uint64, rank float64) int {
		if float64(c) < rank {
			return -1
		}
		return 1
	})
	if i >= len(bounds) {
		return bounds[len(bounds)-1]
	}
	low, below := 0.0, uint64(0)
	if i > 0 {
		low, below = bounds[i-1], r.counts[i-1]
	}
	inside := float64(r.counts[i] - below)
	if inside == 0 {
		return low
	}
	return low + (bounds[i]-low)*(rank-float64(below))/inside
}
