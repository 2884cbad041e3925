package initcmd_test

import (
	"os/exec"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// TestNoConnectionEscapesDuringSwap dials without pause while the rules change and move between backends: each
// connection has to be captured, by the old rules or by the new ones.
func TestNoConnectionEscapesDuringSwap(t *testing.T) {
	m := newMesh(t)
	m.mustInit(t, sidecarArgs...)
	far := farIPs[dnat.IPv4]
	want := "15001 " + hostPort(far, 80)
	stop := make(chan struct{})
	var dialled int
	escaped := map[string]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			dialled++
			if got := m.pod.dial(app, "", far, 80); got != want {
				escaped[got]++
			}
		}
	})
	for range 3 {
		for _, b := range backends {
			if _, err := exec.LookPath(b.tool); b.tool != "" && err != nil {
				continue
			}
			m.mustInit(t, with(b.flag, "-o", "22")...)
			m.mustInit(t, with(b.flag, "--drop-invalid")...)
			m.mustInit(t, with(b.flag, "--force-apply")...)
		}
	}
	close(stop)
	wg.Wait()
	if len(escaped) > 0 {
		t.Errorf("of %d connections these were not captured: %v", dialled, escaped)
	}
	t.Logf("%d connections", dialled)
}
