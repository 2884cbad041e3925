package proxy_test

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
)

// Chains that are replaced under load drain their connections: nobody loses a request,
// though nothing is retried by us.
func TestReplacedChainsLoseNoRequestInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}, nil)
		spec := func(name string) *proxy.ListenerSpec {
			h := proxy.NewHTTP(proxy.HTTPSpec{StatPrefix: name})
			h.SetRoutes(rules{to(c)})
			chain := &proxy.Chain{Name: name, Handler: h}
			out := &proxy.ListenerSpec{Name: "inbound", Direction: flow.Inbound, Address: loopback, Bind: true}
			if l.tls {
				chain.TLS, chain.Criteria.TransportProtocol, out.Inspect.TLS = l.server(t, idProxy), proxy.TransportTLS, true
			}
			set, err := proxy.NewChainSet([]*proxy.Chain{chain}, nil)
			if err != nil {
				t.Fatal(err)
			}
			out.Chains = set
			return out
		}
		g := newRigSpec(t, spec("first"), newRecords())
		var stop atomic.Bool
		var served, lost atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			client := l.downstream(t, g)
			for range 4 {
				wg.Go(func() {
					for !stop.Load() {
						resp, err := client.Do(newRequest(t, http.MethodGet, l.url(g, "/"), nil))
						if err != nil {
							t.Log(err)
							lost.Add(1)
							continue
						}
						said, err := io.ReadAll(resp.Body)
						_ = resp.Body.Close()
						if err != nil || resp.StatusCode != 200 {
							t.Logf("got %d %q, %v", resp.StatusCode, said, err)
							lost.Add(1)
							continue
						}
						served.Add(1)
					}
				})
			}
		}
		for range 30 {
			time.Sleep(20 * time.Millisecond)
			g.listener.Publish(spec("next"))
		}
		stop.Store(true)
		wg.Wait()
		// A machine that stands still for longer than a drain's grace loses one.
		if served.Load() == 0 || lost.Load() > 1+served.Load()/200 {
			t.Errorf("%d requests were served, %d lost", served.Load(), lost.Load())
		}
		poll(t, "the end of the replaced chains' connections", func() bool { return g.listener.Active() <= 16 })
	})
}
