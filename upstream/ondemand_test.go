package upstream_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestOriginalDst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c := upstream.New("PassthroughCluster", upstream.Options{Dial: p.dial})
		c.Publish(&upstream.Spec{Kind: upstream.OriginalDst, CleanupInterval: 10 * time.Second}, nil)
		_, err := c.Pick(&lb.Hint{})
		wantFlow(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.NoHealthyUpstream, Kind: flow.KindNoEndpoint})
		visit := func(to string) *lb.Endpoint {
			e, err := c.Pick(&lb.Hint{OrigDst: netip.MustParseAddrPort(to)})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		a, b := visit("10.0.0.1:80"), visit("10.0.0.2:80")
		if a == b || a != visit("10.0.0.1:80") || b != visit("10.0.0.2:80") {
			t.Fatal("one address, one endpoint")
		}
		exchange(t, c, a)
		exchange(t, c, b)
		busy := open(t, c, visit("10.0.0.3:80"))
		time.Sleep(11 * time.Second) // the first sweep finds all used
		synctest.Wait()
		if got := len(c.OnDemand()); got != 3 {
			t.Errorf("%d endpoints, want 3", got)
		}
		if visit("10.0.0.1:80") != a {
			t.Error("an endpoint in use was forgotten")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got, open := len(c.OnDemand()), p.open.Load(); got != 2 || open != 2 {
			t.Errorf("%d endpoints, %d connections; want the used and the busy one", got, open)
		}
		busy.Close()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got, open := len(c.OnDemand()), p.open.Load(); got != 0 || open != 0 {
			t.Errorf("%d endpoints, %d connections; want none", got, open)
		}
		if visit("10.0.0.1:80") == a {
			t.Error("a forgotten endpoint came back")
		}
		atRest(t, c)
	})
}

func TestOriginalDstTableIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{}
		c := upstream.New("PassthroughCluster", upstream.Options{Dial: p.dial})
		c.Publish(&upstream.Spec{Kind: upstream.OriginalDst}, nil)
		var last *lb.Endpoint
		for i := range 10000 {
			e, err := c.Pick(&lb.Hint{OrigDst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)})
			if err != nil {
				t.Fatal(err)
			}
			last = e
		}
		if got := len(c.OnDemand()); got != 8192 {
			t.Errorf("%d endpoints, want 8192", got)
		}
		exchange(t, c, last) // works, without being kept
		synctest.Wait()
		if got := p.open.Load(); got != 0 {
			t.Errorf("%d connections are kept, want none", got)
		}
		atRest(t, c)
	})
}
