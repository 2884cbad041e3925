package lb

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// naive is the schedule without a heap: the earliest deadline by looking at all.
type naive []entry

func (n naive) pick(order *uint32, step func(int, int64) float64) int {
	best := 0
	for i := range n {
		if n[i].before(&n[best]) {
			best = i
		}
	}
	m := int(n[best].member)
	n[best].deadline += step(m, 0)
	n[best].order = *order
	*order++
	return m
}

// FuzzScheduleAgainstNaive compares the heap with a search through all entries, while
// endpoints get busy and idle.
func FuzzScheduleAgainstNaive(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Add([]byte{0, 255, 255, 1, 1, 1, 9})
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, weights []byte) {
		if len(weights) == 0 || len(weights) > 300 {
			return
		}
		d := &edf{pace: pace{leastActive: weights[0]%2 == 0, bias: float64(1 + weights[0]%3)}}
		for i, w := range weights {
			spec := &EndpointSpec{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(i)))), 1), Weight: uint32(w)}
			d.endpoints = append(d.endpoints, NewEndpoint(spec))
		}
		s := &d.schedules[0]
		d.build(s)
		want := make(naive, len(weights))
		copy(want, s.entries[pad:])
		order := s.order
		for i := range 3 * len(weights) {
			w := want.pick(&order, d.step)
			if got := d.pickLocked(s); got != w {
				t.Fatalf("pick %d: got %v, want %v", i, got, w)
			}
			if i%3 > 0 {
				d.endpoints[w].Acquire()
			} else {
				d.endpoints[i%len(d.endpoints)].Release()
			}
		}
	})
}

func TestContentionUsesMoreSchedules(t *testing.T) {
	t.Parallel()
	d := &edf{}
	for i := range 4 {
		d.endpoints = append(d.endpoints, NewEndpoint(&EndpointSpec{Weight: uint32(i + 1)}))
	}
	for i := range 10 {
		d.pick()
		if d.schedules[1].entries != nil {
			t.Fatalf("pick %d without contention used the second schedule", i)
		}
	}
	d.schedules[0].mu.Lock()
	defer d.schedules[0].mu.Unlock()
	if d.pick(); d.schedules[1].entries == nil {
		t.Error("a pick waited for the first schedule instead of using the second")
	}
}

// TestWeighLikeEnvoyDocuments holds the numbers of Envoy's pages on priority levels.
func TestWeighLikeEnvoyDocuments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ healthy, want []int }{
		{[]int{100, 100}, []int{100, 0}},
		{[]int{72, 100}, []int{100, 0}},
		{[]int{71, 100}, []int{99, 1}},
		{[]int{50, 100}, []int{70, 30}},
		{[]int{25, 100}, []int{35, 65}},
		{[]int{0, 100}, []int{0, 100}},
		{[]int{72, 72, 100}, []int{100, 0, 0}},
		{[]int{71, 71, 100}, []int{99, 1, 0}},
		{[]int{50, 50, 100}, []int{70, 30, 0}},
		{[]int{25, 100, 100}, []int{35, 65, 0}},
		{[]int{25, 25, 100}, []int{35, 35, 30}},
		{[]int{25, 25}, []int{50, 50}},
	} {
		levels := make([]level, len(tt.healthy))
		for i, n := range tt.healthy {
			levels[i] = level{total: 100, healthy: n}
		}
		p := Policy{}.withDefaults()
		got := weigh(levels, &p).healthy
		for i, want := range tt.want {
			if int(got[i]) != want {
				t.Errorf("healthy %v: got %v, want %v", tt.healthy, got, tt.want)
				break
			}
		}
	}
}

// FuzzWeigh checks what must hold of every split: it adds up to 100, only usable
// priorities take part, and no priority gets more than those before it leave.
func FuzzWeigh(f *testing.F) {
	f.Add([]byte{10, 5, 0, 10, 10, 0}, byte(50), byte(140))
	f.Add([]byte{1, 0, 0}, byte(0), byte(140))
	f.Add([]byte{3, 0, 1, 0, 0, 0, 200, 3, 100}, byte(30), byte(100))
	f.Fuzz(func(t *testing.T, b []byte, threshold, factor byte) {
		var levels []level
		usable, anything := 0, 0
		for ; len(b) >= 3 && len(levels) < 20; b = b[3:] {
			lv := level{total: max(int(b[0]), 1)}
			lv.healthy = min(int(b[1]), lv.total)
			lv.degraded = min(int(b[2]), lv.total-lv.healthy)
			levels = append(levels, lv)
			usable += lv.healthy + lv.degraded
			anything += lv.total
		}
		p := Policy{PanicThreshold: float64(threshold), Overprovisioning: uint32(factor)}.withDefaults()
		l := weigh(levels, &p)
		var sum uint32
		for i := range levels {
			sum += l.healthy[i] + l.degraded[i]
			if l.healthy[i] > 0 && levels[i].healthy == 0 && !l.panicked[i] {
				t.Errorf("priority %d has no healthy endpoint and gets %d%%", i, l.healthy[i])
			}
			if l.degraded[i] > 0 && levels[i].degraded == 0 && !l.panicked[i] {
				t.Errorf("priority %d has no degraded endpoint and gets %d%%", i, l.degraded[i])
			}
		}
		if sum != 0 && sum != 100 {
			t.Errorf("the loads add up to %d", sum)
		}
		everyUsable := availabilities(levels, p.Overprovisioning) > 0
		if sum == 0 && (everyUsable || p.PanicThreshold > 0 && anything > 0 && usable == 0) {
			t.Errorf("nobody gets traffic of %+v with %+v", levels, p)
		}
	})
}

func availabilities(levels []level, factor uint32) (sum uint32) {
	for _, lv := range levels {
		sum += availability(lv.healthy, lv.total, factor) + availability(lv.degraded, lv.total, factor)
	}
	return sum
}
