//go:build !race

package dnat_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat"
)

func TestOriginalDstAllocatesNothing(t *testing.T) {
	c := accepted(t, "127.0.0.1:0", "127.0.0.1")
	got := testing.AllocsPerRun(100, func() {
		if _, err := dnat.OriginalDst(c); err != nil {
			t.Error(err)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations, want none", got)
	}
}
