package acceptance_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/lb"
)

// balancing is a DestinationRule for web.
func balancing(policy string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: town }
spec:
  host: web.town.svc.cluster.local
  trafficPolicy: { %s }
`, policy)
}

// webs are the endpoints of web by the address that istiod gives them.
func webs() map[netip.AddrPort]string {
	out := make(map[netip.AddrPort]string)
	for i := range 3 {
		out[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 2, byte(i + 1)}), 8080)] = fmt.Sprintf("web-%d", i+1)
	}
	return out
}

// owner is the pod that a key belongs to, by the vectors that package lb is held to.
func owner(t *testing.T, kind lb.Kind, h lb.Hashing, key string) string {
	t.Helper()
	var specs []lb.EndpointSpec
	for a := range webs() {
		specs = append(specs, lb.EndpointSpec{Addr: a})
	}
	e, err := lb.NewSet(nil, specs, lb.Policy{Kind: kind, Hashing: h}).Pick(&lb.Hint{Hash: lb.Hash(key, 0), Hashed: true})
	if err != nil {
		t.Fatal(err)
	}
	return webs()[e.Addr()]
}

// shares sends n requests and returns the percentage of each pod.
func shares(t *testing.T, from *testmesh.Pod, n int) map[string]float64 {
	t.Helper()
	return split(t, from, "http://web/", n)
}

// TestMeshKeysStayWithTheirEndpoint applies every kind of consistent hash.
func TestMeshKeysStayWithTheirEndpoint(t *testing.T) {
	mesh := testmesh.Start(t, "testdata/balance")
	client := mesh.Pods("client", "web-1", "web-2", "web-3")[0]
	for name, tt := range map[string]struct {
		policy  string
		kind    lb.Kind
		hashing lb.Hashing
		// send makes the request of a key; nil where there is only one key.
		send func(key string) *http.Request
		key  string
	}{
		"header": {policy: "httpHeaderName: x-user", kind: lb.RingHash, send: func(key string) *http.Request {
			return request(t, "GET", "http://web/", nil, "X-User", key)
		}},
		"header on a large ring": {
			policy: "httpHeaderName: x-user, ringHash: { minimumRingSize: 5000 }", kind: lb.RingHash, hashing: lb.Hashing{MinRing: 5000},
			send: func(key string) *http.Request { return request(t, "GET", "http://web/", nil, "X-User", key) },
		},
		"cookie by Maglev": {policy: "httpCookie: { name: user, ttl: 0s }, maglev: { tableSize: 65537 }", kind: lb.Maglev, send: func(key string) *http.Request {
			return request(t, "GET", "http://web/", nil, "Cookie", "a=b; user="+key)
		}},
		"query by a small Maglev table": {
			policy: "httpQueryParameterName: user, maglev: { tableSize: 101 }", kind: lb.Maglev, hashing: lb.Hashing{TableSize: 101},
			send: func(key string) *http.Request { return request(t, "GET", "http://web/?user="+key, nil) },
		},
		"source address": {policy: "useSourceIp: true", kind: lb.RingHash, key: "10.0.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			apply(t, mesh, "balancing", balancing("loadBalancer: { consistentHash: { "+tt.policy+" } }"))
			var keys []string
			for i := range 30 { // before the rule is in force they go anywhere
				keys = append(keys, cmp.Or(tt.key, fmt.Sprintf("user-%d", i)))
			}
			right := func() bool {
				for _, key := range keys {
					r := request(t, "GET", "http://web/", nil)
					if tt.send != nil {
						r = tt.send(key)
					}
					if reply := client.Do(r); reply.Echo == nil || reply.Echo.Pod != owner(t, tt.kind, tt.hashing, key) {
						return false
					}
				}
				return true
			}
			eventually(t, "every key goes to its owner", right)
			stays(t, time.Second, "every key goes to its owner", right)
		})
	}
	t.Run("a cookie is given", func(t *testing.T) {
		apply(t, mesh, "balancing", balancing("loadBalancer: { consistentHash: { httpCookie: { name: user, ttl: 90s, path: /p } } }"))
		var cookie string
		eventually(t, "there is a cookie", func() bool {
			cookie = client.Get("http://web/").Header.Get("Set-Cookie")
			return cookie != ""
		})
		value, rest, _ := strings.Cut(cookie, ";")
		if want := " Max-Age=90; Path=/p; HttpOnly"; rest != want || len(value) != len(`user="0123456789abcdef"`) {
			t.Errorf("got %s, want a value of 16 digits and%s", cookie, want)
		}
		key := strings.Trim(strings.TrimPrefix(value, "user="), `"`)
		for range 10 {
			r := client.Do(request(t, "GET", "http://web/", nil, "Cookie", value))
			if want := owner(t, lb.RingHash, lb.Hashing{}, key); r.Echo == nil || r.Echo.Pod != want {
				t.Errorf("got %v, want %s", r, want)
			}
			if r.Header.Get("Set-Cookie") != "" {
				t.Errorf("who has a cookie gets another one: %v", r.Header)
			}
		}
	})
	t.Run("TCP by source address", func(t *testing.T) {
		apply(t, mesh, "balancing", balancing("loadBalancer: { consistentHash: { useSourceIp: true } }"))
		first := map[string]bool{}
		eventually(t, "all connections go to one pod", func() bool {
			clear(first)
			for range 10 {
				got, _ := talk(t, client, "web:3306", "", 300*time.Millisecond)
				first[got] = true
			}
			return len(first) == 1
		})
	})
}

// TestMeshLocalitiesComeInTheirOrder lets requests stay near, and go on when nobody
// is near any more.
func TestMeshLocalitiesComeInTheirOrder(t *testing.T) {
	mesh := testmesh.Start(t, "testdata/balance")
	client := mesh.Pods("client", "web-1", "web-2", "web-3")[0]
	const outliers = "outlierDetection: { consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 30s }, "
	only := func(pod string) {
		t.Helper()
		all := func() bool { return shares(t, client, 64)[pod] > 99 }
		eventually(t, "all requests go to "+pod, all)
		stays(t, 500*time.Millisecond, "all requests go to "+pod, all)
	}
	without := func(pod string, then func()) {
		t.Helper()
		text, err := os.ReadFile("testdata/balance/" + pod + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		remove(t, mesh, pod+".yaml")
		then()
		apply(t, mesh, pod+".yaml", string(text))
	}
	t.Run("failover", func(t *testing.T) {
		apply(t, mesh, "balancing", balancing(outliers+"loadBalancer: { localityLbSetting: { enabled: true } }"))
		only("web-1")
		without("web-1", func() {
			only("web-2")
			without("web-2", func() { only("web-3") })
		})
		only("web-1")
	})
	t.Run("failoverPriority", func(t *testing.T) {
		apply(t, mesh, "balancing", balancing(outliers+"loadBalancer: { localityLbSetting: { enabled: true, failoverPriority: [version] } }"))
		only("web-3") // of the client's version
	})
	t.Run("distribute", func(t *testing.T) {
		apply(t, mesh, "balancing", balancing(outliers+`loadBalancer: { localityLbSetting: { enabled: true, distribute: [
			{ from: here/one/*, to: { "here/one/*": 60, "here/two/*": 10, "there/*": 30 } }] } }`))
		want := map[string]float64{"web-1": 60, "web-2": 10, "web-3": 30}
		eventually(t, "shares are near", func() bool {
			got := shares(t, client, 160)
			return got["web-1"] > 50 && got["web-2"] > 3 && got["web-3"] > 20 && got["web-3"] < 40
		})
		near(t, shares(t, client, 800), want, 5)
	})
}

// TestMeshNewEndpointsWarmUp adds an endpoint to a service that warms up.
func TestMeshNewEndpointsWarmUp(t *testing.T) {
	mesh := testmesh.Start(t, "testdata/balance")
	client := mesh.Pods("client", "web-1", "web-2", "web-3")[0]
	text, err := os.ReadFile("testdata/balance/web-3.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const window = 20 * time.Second
	apply(t, mesh, "balancing", balancing("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 20s, minimumPercent: 10, aggression: 1 } }"))
	remove(t, mesh, "web-3.yaml")
	eventually(t, "two are left", func() bool { return shares(t, client, 64)["web-3"] == 0 })
	pause(window) // these two are warm then
	began := time.Now()
	apply(t, mesh, "web-3.yaml", string(text))
	eventually(t, "the third one is there", func() bool { return shares(t, client, 64)["web-3"] > 0 })
	got := shares(t, client, 480)
	age := time.Since(began)
	// At the age of w of the window its weight is w against 1 of either other one.
	if most := 100 * age.Seconds() / window.Seconds() / 2; got["web-3"] > max(most, 10) {
		t.Errorf("after %v of %v the new endpoint has shares %v, want at most %.0f%%", age, window, got, max(most, 10))
	}
	eventually(t, "it has its full share", func() bool { return shares(t, client, 96)["web-3"] > 30 })
}
