//go:build !race

package lb_test

import (
	"fmt"
	"testing"

	"github.com/outrigger-mesh/outrigger/lb"
)

func TestPickDoesNotAllocate(t *testing.T) {
	for _, n := range []int{1, 4, 1000} {
		for name, set := range cases(n) {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				h := lb.Hint{Tried: set.Endpoints()[:1], MaxPicks: 3}
				if _, err := set.Pick(&h); err != nil {
					t.Fatal(err)
				}
				if got := testing.AllocsPerRun(200, func() { _, _ = set.Pick(&h) }); got > 0 {
					t.Errorf("got %v allocations per pick", got)
				}
			})
		}
	}
}
