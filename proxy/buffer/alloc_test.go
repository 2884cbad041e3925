//go:build !race

package buffer_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
)

func TestPooledSizesDoNotAllocate(t *testing.T) {
	for _, size := range []int{buffer.Tiny, buffer.Small, buffer.Medium, buffer.Large, buffer.Bulk} {
		if got := testing.AllocsPerRun(100, func() { buffer.Put(buffer.Get(size)) }); got != 0 {
			t.Errorf("%d bytes: %v allocations", size, got)
		}
	}
}
