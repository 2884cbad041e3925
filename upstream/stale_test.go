package upstream_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestAConnectionRetiresBeforeTheUpstreamClosesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{field: "keep-alive: timeout=5\r\n"}
		c, e := p.cluster(t, &upstream.Spec{})
		exchange(t, c, e)
		time.Sleep(4 * time.Second)
		if _, reused := exchange(t, c, e); !reused {
			t.Error("a connection was given up after 4 s of 5")
		}
		time.Sleep(4600 * time.Millisecond)
		synctest.Wait()
		if open, retired := c.Stats().CxActive.Load(), c.Stats().Stale.Retired.Load(); open != 0 || retired != 1 {
			t.Errorf("got %d open and %d retired, want none and one", open, retired)
		}
		if got := c.Stats().CxIdleTimeout.Load(); got != 0 {
			t.Errorf("got %d idle time-outs of our own", got)
		}
		c.Close(t.Context())
	})
}

func TestTheUpstreamsIdleTimeoutIsLearnt(t *testing.T) {
	t.Parallel()
	p := newPeerWith(t, nil, func(s *http.Server) { s.IdleTimeout = 1200 * time.Millisecond })
	c := newCluster(t, nil, p.addr())
	e := pick(t, c)
	deadline := time.Now().Add(30 * time.Second)
	for c.Stats().Stale.Retired.Load() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no connection was retired before its end")
		}
		exchange(t, c, e)
		eventually(t, "the connection ends", func() bool { return c.Stats().CxActive.Load() == 0 })
	}
}
