package load

import (
	"encoding/json"
	"errors"
	"math/bits"
	"time"
)

// A histogram keeps subBits binary digits of each value: quantiles are at most
// 1/128 too high. Values above maxValue (some 18 minutes) count as that.
const (
	subBits  = 7
	subCount = 1 << subBits
	maxValue = 1<<40 - 1
	buckets  = (40 - subBits + 1) * subCount
)

var errBucket = errors.New("histogram with an impossible bucket")

// Histogram counts durations in buckets whose width grows with the value. The zero
// value is empty. It is owned by one goroutine at a time.
type Histogram struct {
	counts   [buckets]uint32
	n        uint64
	sum      time.Duration
	min, max time.Duration
}

// bucket returns the place of a value: below subCount one each, above that subCount
// for each power of two.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// top returns the greatest value of a bucket.
func top(i int) uint64 {
	shift := max(i>>subBits-1, 0)
	return uint64(i-shift<<subBits+1)<<shift - 1
}

// Record counts one duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) { h.add(min(max(d, 0), maxValue), 1) }

func (h *Histogram) add(d time.Duration, n uint32) {
	h.counts[bucket(uint64(d))] += n
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n += uint64(n)
	h.sum += d * time.Duration(n)
}

// Merge adds what another histogram has counted.
func (h *Histogram) Merge(o *Histogram) {
	if o == nil || o.n == 0 {
		return
	}
	for i, c := range o.counts {
		h.counts[i] += c
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
}

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.n }

// Min is the least, exactly.
func (h *Histogram) Min() time.Duration { return h.min }

// Max is the greatest, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is the average, exactly.
func (h *Histogram) Mean() time.Duration { return h.sum / time.Duration(max(h.n, 1)) }

// Quantile returns the least value that at least the share q does not exceed,
// rounded up to the end of its bucket.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := max(uint64(q*float64(h.n)+0.999999), 1)
	var seen uint64
	for i, c := range h.counts {
		if seen += uint64(c); seen >= want && c > 0 {
			return min(time.Duration(top(i)), h.max)
		}
	}
	return h.max
}

// sparse is a histogram on its way to another process.
type sparse struct {
	Min, Max, Sum time.Duration
	Counts        [][2]uint64 // index of the bucket and its count
}

// MarshalJSON writes the buckets that are not empty.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	s := sparse{Min: h.min, Max: h.max, Sum: h.sum}
	for i, c := range h.counts {
		if c > 0 {
			s.Counts = append(s.Counts, [2]uint64{uint64(i), uint64(c)})
		}
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var s sparse
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	*h = Histogram{min: s.Min, max: s.Max, sum: s.Sum}
	for _, c := range s.Counts {
		i, n := c[0], c[1]
		if i >= buckets || n > 1<<32-1 {
			return errBucket
		}
		h.counts[i] = uint32(n)
		h.n += n
	}
	return nil
}
