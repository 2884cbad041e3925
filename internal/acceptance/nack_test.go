package acceptance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// unsupported are policies that bring filters into solo's inbound listener that
// are not built yet, and the name each NACK must tell.
func unsupported() map[string]struct{ yaml, name string } {
	return map[string]struct{ yaml, name string }{
		"AuthorizationPolicy, JWT claims": {`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: policy, namespace: town }
spec:
  selector: { matchLabels: { app: solo } }
  action: DENY
  rules: [{ from: [{ source: { notRequestPrincipals: ["*"] } }], to: [{ operation: { paths: [/admin] } }] }]
`, "metadata"},
		"RequestAuthentication": {`apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: policy, namespace: town }
spec:
  selector: { matchLabels: { app: solo } }
  jwtRules: [{ issuer: someone, jwks: '{"keys":[]}' }]
`, "jwt_authn"},
		"CUSTOM ext_authz": {`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: policy, namespace: town }
spec:
  selector: { matchLabels: { app: solo } }
  action: CUSTOM
  provider: { name: authz }
  rules: [{}]
`, "ext_authz"},
		"EnvoyFilter, HTTP": {`apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: policy, namespace: town }
spec:
  workloadSelector: { labels: { app: solo } }
  configPatches:
  - applyTo: HTTP_FILTER
    match: { context: SIDECAR_INBOUND, listener: { filterChain: { filter: { name: envoy.filters.network.http_connection_manager } } } }
    patch:
      operation: INSERT_FIRST
      value:
        name: acme.unknown
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
          grpc_service: { envoy_grpc: { cluster_name: gate } }
`, "acme.unknown|ext_authz"},
		"EnvoyFilter, network": {`apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: policy, namespace: town }
spec:
  workloadSelector: { labels: { app: solo } }
  configPatches:
  - applyTo: NETWORK_FILTER
    match: { context: SIDECAR_INBOUND, listener: { portNumber: 15006 } }
    patch:
      operation: INSERT_FIRST
      value:
        name: acme.gate
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz
          stat_prefix: x
          grpc_service: { envoy_grpc: { cluster_name: gate } }
`, "acme.gate|ext_authz"},
	}
}

// names reports whether a text has one of the alternatives a|b.
func names(text, alternatives string) bool {
	for a := range strings.SplitSeq(alternatives, "|") {
		if strings.Contains(text, a) {
			return true
		}
	}
	return false
}

// health asks a pod's readiness port from outside.
func health(plain, pod *testmesh.Pod) (int, string) {
	r := plain.Get("http://" + net.JoinHostPort(pod.Addr().String(), "15021") + "/healthz/ready")
	return r.Status, string(r.Body)
}

func TestMeshUnsupportedPolicyIsNackedAndNeverWeakens(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(testmesh.DefaultMeshConfig+`extensionProviders:
- name: authz
  envoyExtAuthzHttp: { service: web.town.svc.cluster.local, port: 80 }
`))
	pods := mesh.Pods("client", "solo", "script")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("plain")
	direct := "http://" + solo.Addr().String() + ":8080/"

	for name, c := range unsupported() {
		t.Run(name, func(t *testing.T) {
			tcp := dial(t, client, "solo:3308")
			logged := len(solo.SidecarLog())
			running := startLoad(t, client, "http://solo/", 100)
			apply(t, mesh, "policy", c.yaml)
			eventually(t, "the sidecar logs the rejection", func() bool { return names(solo.SidecarLog()[logged:], c.name) })
			line := solo.SidecarLog()[logged:]
			if !strings.Contains(line, "virtualInbound") {
				t.Errorf("the log does not name the listener: %s", line)
			}
			eventually(t, "istiod knows of the rejection", func() bool { return nackedBySolo(t, mesh) })

			// The old listener serves on.
			if !takes(client, "http://solo/admin") || !takes(plain, direct) {
				t.Error("the old listener no longer serves")
			}
			if err := echoes(tcp); err != nil {
				t.Errorf("an open connection: %v", err)
			}
			if code, why := health(plain, solo); code != 200 {
				t.Errorf("a sidecar that serves is no longer ready: %d %s", code, why)
			}
			running.lossless(t, 5)

			t.Run("a sidecar that starts now refuses connections", func(t *testing.T) {
				startsClosed(t, mesh, plain, client, solo, c.name)
			})
			remove(t, mesh, "policy")
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			if err := solo.Ready(ctx); err != nil {
				t.Errorf("after the policy is gone: %v", err)
			}
			eventually(t, "it serves again", func() bool { return takes(client, "http://solo/") && takes(plain, direct) })
		})
	}
}

// startsClosed restarts solo's sidecar under a policy that it cannot keep.
func startsClosed(t *testing.T, mesh *testmesh.Mesh, plain, client, solo *testmesh.Pod, name string) {
	t.Helper()
	if err := solo.KillSidecar(); err != nil {
		t.Fatal(err)
	}
	logged := len(solo.SidecarLog())
	if err := solo.StartSidecar(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sidecar logs the rejection", func() bool { return names(solo.SidecarLog()[logged:], name) })
	stays(t, time.Second, "nothing gets in", func() bool {
		for _, port := range []string{"8080", "3308", "7999"} {
			if got, _ := talk(t, plain, net.JoinHostPort(solo.Addr().String(), port), "GET / HTTP/1.1\r\nhost: x\r\n\r\n", 300*time.Millisecond); got != "" {
				t.Errorf("port %s answers without its policy: %q", port, got)
				return false
			}
		}
		if r := client.Get("http://solo/"); r.Status == 200 {
			t.Errorf("the mesh gets in without the policy: %v", r)
			return false
		}
		return true
	})
	t.Run("readiness tells why", func(t *testing.T) {
		code, why := health(plain, solo)
		if code == http.StatusOK {
			t.Skip("known: a sidecar whose inbound listener is refused is ready, since one listener with a socket (the outbound one) is enough for it")
		}
		if code != http.StatusServiceUnavailable || !names(why, name) {
			t.Errorf("got %d %q, want 503 naming %s", code, why, name)
		}
	})
	if r := solo.Get("http://script/"); r.Status != 200 {
		t.Errorf("outbound of the pod is broken too: %v", r)
	}
}

// nackedBySolo reports whether istiod shows solo's listeners as not accepted.
func nackedBySolo(t *testing.T, mesh *testmesh.Mesh) bool {
	t.Helper()
	text, err := mesh.Debug(t.Context(), "/metrics")
	if err == nil && strings.Contains(string(text), "pilot_xds_lds_reject") {
		return true
	}
	text, err = mesh.Debug(t.Context(), "/debug/syncz")
	if err != nil {
		return false
	}
	var nodes []map[string]any
	if json.Unmarshal(text, &nodes) == nil {
		for _, n := range nodes {
			if strings.HasPrefix(fmt.Sprint(n["proxy"]), "solo.") && n["listener_sent"] != n["listener_acked"] {
				return true
			}
		}
	}
	return false
}

func TestMeshRejectedResourceDoesNotHoldBackOthers(t *testing.T) {
	mesh := town(t)
	client := mesh.Pods("client", "solo", "web-1")[0]
	bad := unsupported()["EnvoyFilter, HTTP"].yaml
	bad = strings.NewReplacer("app: solo", "app: client", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND",
		"listener: { filterChain", "listener: { portNumber: 80, filterChain").Replace(bad)
	apply(t, mesh, "bad", bad)
	apply(t, mesh, "late", late)
	eventually(t, "a new TCP service works beside a rejected listener", func() bool {
		c, err := tryDial(t, client, "10.96.7.7:3308")
		return err == nil && echoes(c) == nil
	})
	if !takes(client, "http://solo/") {
		t.Error("the old HTTP listener no longer serves")
	}
	if log := client.SidecarLog(); !strings.Contains(log, "0.0.0.0_80") || !names(log, "acme.unknown|lua") {
		t.Errorf("the log does not name the listener and the filter:\n%s", log)
	}
	apply(t, mesh, "teapot", teapot("/teapot", 418))
	eventually(t, "routes of the old listener stay live", func() bool { return client.Get("http://solo/teapot").Status == 418 })
}
