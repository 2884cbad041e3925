//go:build !race

package sock_test

import "testing"

func TestReadsAndWritesDoNotAllocate(t *testing.T) {
	near, far := pair(t)
	out, in := make([]byte, 1<<10), make([]byte, 1<<10)
	allocs := testing.AllocsPerRun(1000, func() {
		_, _ = far.Write(out)
		_, _ = near.Read(in)
		_, _ = near.Write(out)
		_, _ = far.Read(in)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
