//go:build !race

package upstream_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestPooledConnectionCostsNoAllocation(t *testing.T) {
	c := benchCluster(t)
	h, o := &lb.Hint{}, &upstream.OpenOptions{ALPN: []string{"istio-http/1.1", "istio"}}
	lend(t, c, h, o)
	if got := testing.AllocsPerRun(200, func() { lend(t, c, h, o) }); got > 0 {
		t.Errorf("pick, open and close cost %v allocations, want none", got)
	}
	if got := c.Stats().CxTotal.Load(); got != 1 {
		t.Errorf("used %d connections, want 1", got)
	}
}
