package acceptance_test

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// weights routes web by version.
func weights(v1, v2, v3 int) string {
	const host = "web.town.svc.cluster.local"
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: town }
spec:
  hosts: [%[1]s]
  http:
  - route:
    - { destination: { host: %[1]s, subset: v1 }, weight: %[2]d }
    - { destination: { host: %[1]s, subset: v2 }, weight: %[3]d }
    - { destination: { host: %[1]s, subset: v3 }, weight: %[4]d }
`, host, v1, v2, v3)
}

const subsets = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: town }
spec:
  host: web.town.svc.cluster.local
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 } }
  - { name: v3, labels: { version: v3 } }
`

// split sends n requests and returns the share of each pod in percent.
func split(t *testing.T, from *testmesh.Pod, url string, n int) map[string]float64 {
	t.Helper()
	const workers = 16
	var mu sync.Mutex
	var wg sync.WaitGroup
	shares := map[string]float64{}
	for range workers {
		wg.Go(func() {
			for range n / workers {
				r := from.Get(url)
				if r.Err != nil || r.Status != 200 || r.Echo == nil {
					t.Errorf("got %v", r)
					return
				}
				mu.Lock()
				shares[r.Echo.Pod] += 100 / float64(n/workers*workers)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return shares
}

func near(t *testing.T, got, want map[string]float64, points float64) {
	t.Helper()
	for _, pod := range []string{"web-1", "web-2", "web-3"} {
		if math.Abs(got[pod]-want[pod]) > points {
			t.Errorf("got shares %v, want %v within %v points", got, want, points)
			return
		}
	}
}

func TestMeshWeightsSplitTraffic(t *testing.T) {
	mesh := town(t)
	client := mesh.Pods("client", "web-1", "web-2", "web-3")[0]
	apply(t, mesh, "subsets", subsets)
	apply(t, mesh, "weights", weights(70, 25, 5))
	reaches := func(pod string) func() bool {
		return func() bool { r := client.Get("http://web/"); return r.Echo != nil && r.Echo.Pod == pod }
	}

	t.Run("10000 requests fall within 3 points", func(t *testing.T) {
		// A freshly applied rule is in force within a second.
		eventually(t, "weights are in force", func() bool {
			r := client.Admin("/config_dump")
			return strings.Contains(string(r.Body), "outbound|80|v3|web.town.svc.cluster.local")
		})
		near(t, split(t, client, "http://web/", 10000), map[string]float64{"web-1": 70, "web-2": 25, "web-3": 5}, 3)
	})
	t.Run("a live edit takes effect without a failed request", func(t *testing.T) {
		running := startLoad(t, client, "http://web/", 200)
		apply(t, mesh, "weights", weights(0, 100, 0))
		eventually(t, "all goes to v2", func() bool {
			for range 20 {
				if !reaches("web-2")() {
					return false
				}
			}
			return true
		})
		running.lossless(t, 1)
		near(t, split(t, client, "http://web/", 500), map[string]float64{"web-2": 100}, 0.01)
	})
	t.Run("without the VirtualService all versions take part alike", func(t *testing.T) {
		running := startLoad(t, client, "http://web/", 200)
		remove(t, mesh, "weights")
		eventually(t, "v3 answers", reaches("web-3"))
		eventually(t, "v1 answers", reaches("web-1"))
		running.lossless(t, 1)
		third := 100.0 / 3
		near(t, split(t, client, "http://web/", 3000), map[string]float64{"web-1": third, "web-2": third, "web-3": third}, 6)
	})
	t.Run("removing subsets that no rule names fails nothing", func(t *testing.T) {
		running := startLoad(t, client, "http://web/", 200)
		remove(t, mesh, "subsets")
		eventually(t, "the cluster of the subset is gone", func() bool {
			return !strings.Contains(string(client.Admin("/config_dump").Body), "outbound|80|v3|web.town")
		})
		running.lossless(t, 1)
	})
	t.Run("header and path rules, rewrite, redirect, direct response", func(t *testing.T) {
		apply(t, mesh, "rules", `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: town }
spec:
  hosts: [web.town.svc.cluster.local]
  http:
  - match: [{ uri: { prefix: /old/ } }]
    rewrite: { uri: /new/, authority: other.example }
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - match: [{ uri: { exact: /gone } }]
    redirect: { uri: /there, redirectCode: 302 }
  - match: [{ uri: { exact: /teapot } }]
    directResponse: { status: 418, body: { string: short and stout } }
  - match: [{ headers: { x-user: { exact: jason } } }]
    headers: { request: { set: { x-group: testers } , remove: [x-user] }, response: { add: { x-by: rule } } }
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - route: [{ destination: { host: web.town.svc.cluster.local } }]
`)
		eventually(t, "the rules are in force", func() bool { return client.Get("http://web/teapot").Status == 418 })
		if r := client.Get("http://web/teapot"); string(r.Body) != "short and stout" {
			t.Errorf("direct response: got %v", r)
		}
		if r := client.Get("http://web/gone"); r.Status != 302 || r.Header.Get("Location") != "http://web/there" {
			t.Errorf("redirect: got %v %v", r, r.Header)
		}
		r := client.Get("http://web/old/page?q=1")
		if r.Echo == nil || r.Echo.Target != "/new/page?q=1" || r.Echo.Host != "other.example" {
			t.Fatalf("rewrite: got %v %+v", r, r.Echo)
		}
		if got := r.Echo.Header("x-envoy-original-path"); len(got) != 1 || got[0] != "/old/page?q=1" {
			t.Errorf("rewrite: got x-envoy-original-path %q", got)
		}
		r = client.Do(request(t, "GET", "http://web/", nil, "X-User", "jason"))
		if r.Echo == nil || len(r.Echo.Header("x-user")) != 0 || len(r.Echo.Header("x-group")) != 1 || r.Header.Get("X-By") != "rule" {
			t.Errorf("header rule: got %v %+v", r, r.Echo)
		}
	})
}
