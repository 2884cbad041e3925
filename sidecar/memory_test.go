package sidecar

import "testing"

func TestGCPercentKeepsGarbageInBounds(t *testing.T) {
	for _, tc := range []struct {
		name string
		live uint64
		want int
	}{
		{"nothing in use", 0, gcPercentMost},
		{"a small sidecar", 4 << 20, gcPercentMost},
		{"some connections", 8 << 20, 100},
		{"half of it is the room", 16 << 20, gcPercentLeast},
		{"many connections", 1 << 30, gcPercentLeast},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := gcPercent(tc.live); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestMeterSeesAllocationsAndSlack(t *testing.T) {
	m := newMeter()
	kept := make([][]byte, 64)
	for i := range kept {
		kept[i] = make([]byte, 1<<20)
	}
	if m.read(); m.quiet() {
		t.Errorf("quiet after %d bytes", m.fresh)
	}
	kept = nil
	freeMemory()
	if m.read(); m.slack() >= 32<<20 {
		t.Errorf("slack of %d bytes after memory was freed", m.slack())
	}
	_ = kept
}
