package acceptance_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// acts is a VirtualService with one route for each thing that is done with a request.
const acts = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: acts, namespace: town }
spec:
  hosts: [web.town.svc.cluster.local]
  http:
  - name: abort
    match: [{ uri: { prefix: /abort }, headers: { x-who: { exact: victim } } }]
    fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - name: abort-grpc
    match: [{ uri: { exact: /abort.Service/Call } }]
    fault: { abort: { grpcStatus: UNAVAILABLE, percentage: { value: 100 } } }
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - name: delay
    match: [{ uri: { exact: /delay } }]
    fault: { delay: { fixedDelay: 0.5s, percentage: { value: 100 } }, abort: { httpStatus: 503, percentage: { value: 0 } } }
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - name: cors
    match: [{ uri: { exact: /cors } }]
    corsPolicy:
      allowOrigins: [{ exact: "https://shop.example" }, { regex: "https://[a-z]+[.]town[.]example" }]
      allowMethods: [GET, PUT]
      allowHeaders: [x-a]
      exposeHeaders: [x-b]
      maxAge: 24h
      allowCredentials: true
      unmatchedPreflights: IGNORE
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - name: mirror
    match: [{ uri: { prefix: /mirror } }]
    mirrors: [{ destination: { host: solo.town.svc.cluster.local, port: { number: 80 } }, percentage: { value: 100 } }]
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - name: headers
    match: [{ uri: { exact: /headers } }]
    headers:
      request: { set: { x-from: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", x-path: "%REQ(:PATH)%" }, remove: [x-gone] }
      response: { add: { x-code: "%RESPONSE_CODE% of %UPSTREAM_HOST%" } }
    route: [{ destination: { host: web.town.svc.cluster.local }, headers: { request: { add: { x-destination: web } } } }]
  - name: redirect
    match: [{ uri: { prefix: /redirect/ } }]
    redirect: { authority: new.example, redirectCode: 308, scheme: https, port: 8443 }
  - name: direct
    match: [{ uri: { exact: /direct } }]
    directResponse: { status: 203, body: { string: "straight" } }
    headers: { response: { set: { x-direct: "yes" } } }
  - name: rewrite
    match: [{ uri: { regex: "/old/([^/]+)/.*" } }]
    rewrite: { uriRegexRewrite: { match: "/old/([^/]+)/(.*)", rewrite: "/new/\\2/\\1" }, authority: rewritten.example }
    route: [{ destination: { host: web.town.svc.cluster.local } }]
  - name: query
    match: [{ queryParams: { kind: { exact: special } }, withoutHeaders: { x-no: {} }, method: { exact: PUT }, ignoreUriCase: true, uri: { prefix: /QUERY } }]
    directResponse: { status: 202 }
  - name: rest
    route: [{ destination: { host: web.town.svc.cluster.local } }]
`

func TestMeshActsAsVirtualServicesSay(t *testing.T) {
	mesh := town(t, testmesh.WithMeshConfig(logged))
	pods := mesh.Pods("client", "web-1", "solo")
	client := pods[0]
	apply(t, mesh, "acts", acts)
	eventually(t, "the VirtualService is in force", func() bool { return client.Get("http://web/direct").Status == 203 })
	do := func(method, path string, head ...string) (int, http.Header, string, func(string) string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://web"+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(head); i += 2 {
			req.Header.Set(head[i], head[i+1])
		}
		r := client.Do(req)
		if r.Err != nil {
			t.Fatalf("%s %s: %v", method, path, r.Err)
		}
		return r.Status, r.Header, string(r.Body), func(name string) string {
			switch {
			case r.Echo == nil:
				return "nobody"
			case name == ":path":
				return r.Echo.Target
			case name == ":authority":
				return r.Echo.Host
			default:
				return strings.Join(r.Echo.Header(name), ",")
			}
		}
	}
	got := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}

	t.Run("faults", func(t *testing.T) {
		status, _, body, _ := do("GET", "/abort", "x-who", "victim")
		got("an abort", status, 418)
		got("its body", body, "fault filter abort")
		status, _, _, _ = do("GET", "/abort", "x-who", "else")
		got("no abort", status, 200)
		status, h, _, _ := do("POST", "/abort.Service/Call", "content-type", "application/grpc")
		got("a gRPC abort", status, 200)
		got("its status", h.Get("grpc-status"), "14")
		began := time.Now()
		status, _, _, seen := do("GET", "/delay")
		got("a delay", status, 200)
		got("what is delayed", seen(":path"), "/delay")
		if took := time.Since(began); took < 500*time.Millisecond {
			t.Errorf("a delay of 0.5 s took %v", took)
		}
		stats, err := client.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"fault_aborts_injected", "fault_delays_injected"} {
			if !strings.Contains(string(stats), name) {
				t.Errorf("no metric of %s", name)
			}
		}
	})
	t.Run("CORS", func(t *testing.T) {
		status, h, _, seen := do("OPTIONS", "/cors", "origin", "https://old.town.example", "access-control-request-method", "PUT")
		got("a preflight", status, 200)
		got("who gets it", seen(":path"), "nobody")
		for name, want := range map[string]string{
			"access-control-allow-origin": "https://old.town.example", "access-control-allow-methods": "GET,PUT", "access-control-allow-headers": "x-a",
			"access-control-max-age": "86400", "access-control-allow-credentials": "true",
		} {
			got(name, h.Get(name), want)
		}
		_, h, _, seen = do("GET", "/cors", "origin", "https://shop.example")
		got("a page", seen(":path"), "/cors")
		got("its origin", h.Get("access-control-allow-origin"), "https://shop.example")
		got("what it may read", h.Get("access-control-expose-headers"), "x-b")
		_, h, _, seen = do("GET", "/cors", "origin", "https://evil.example")
		got("another page", seen(":path"), "/cors")
		got("its origin", h.Get("access-control-allow-origin"), "")
		_, h, _, seen = do("OPTIONS", "/cors", "origin", "https://evil.example", "access-control-request-method", "PUT")
		got("another preflight is not passed on", seen(":path"), "nobody")
		got("and not allowed", h.Get("access-control-allow-origin"), "")
	})
	t.Run("mirrors", func(t *testing.T) {
		before := mirrored(t, pods[2].SidecarLog())
		status, _, _, seen := do("GET", "/mirror/me")
		got("the request", status, 200)
		got("its host", seen(":authority"), "web")
		eventually(t, "the copy arrives", func() bool { return mirrored(t, pods[2].SidecarLog()) > before })
	})
	t.Run("headers", func(t *testing.T) {
		_, h, _, seen := do("GET", "/headers", "x-gone", "1", "x-path", "mine")
		got("a peer's address", seen("x-from"), client.Addr().String())
		got("a path", seen("x-path"), "/headers")
		got("removed", seen("x-gone"), "")
		got("of the destination", seen("x-destination"), "web")
		if code := h.Get("x-code"); !strings.HasPrefix(code, "200 of 10.") {
			t.Errorf("a response's header: got %q", code)
		}
	})
	t.Run("answers", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://web/redirect/a?b=c", nil)
		if err != nil {
			t.Fatal(err)
		}
		c := *client.HTTPClient()
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got("a redirect", resp.StatusCode, 308)
		got("its target", resp.Header.Get("location"), "https://new.example:8443/redirect/a?b=c")
		status, h, body, _ := do("GET", "/direct")
		got("a direct response", status, 203)
		got("its body", body, "straight")
		got("its header", h.Get("x-direct"), "yes")
	})
	t.Run("rewrites", func(t *testing.T) {
		_, _, _, seen := do("GET", "/old/one/two/three?x=1")
		got("a path", seen(":path"), "/new/two/three/one?x=1")
		got("a host", seen(":authority"), "rewritten.example")
	})
	t.Run("matches", func(t *testing.T) {
		status, _, _, _ := do("PUT", "/query/x?kind=special")
		got("everything fits", status, 202)
		status, _, _, _ = do("PUT", "/query/x?kind=special", "x-no", "1")
		got("a header that must not be", status, 200)
		status, _, _, _ = do("PUT", "/query/x?kind=other")
		got("another parameter", status, 200)
		status, _, _, _ = do("GET", "/query/x?kind=special")
		got("another method", status, 200)
	})
}

// mirrored counts the copies in the access log of a mirror's sidecar.
func mirrored(t *testing.T, log string) int {
	t.Helper()
	return strings.Count(log, "/mirror/")
}

// plugin is what istiod makes of a WasmPlugin for web: a filter whose configuration comes
// by ECDS. (A WasmPlugin itself is not read from files.)
func plugin(policy string) string {
	return `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: module, namespace: town }
spec:
  workloadSelector: { labels: { app: web } }
  configPatches:
  - applyTo: EXTENSION_CONFIG
    match: { context: SIDECAR_INBOUND }
    patch:
      operation: ADD
      value:
        name: module
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
          config: { name: module, failure_policy: ` + policy + `, vm_config: { runtime: envoy.wasm.runtime.v8, code: { local: { filename: /none } } } }
  - applyTo: HTTP_FILTER
    match: { context: SIDECAR_INBOUND, listener: { filterChain: { filter: { name: envoy.filters.network.http_connection_manager } } } }
    patch:
      operation: INSERT_BEFORE
      value:
        name: module
        config_discovery:
          config_source: { ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3 }
          type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]
`
}

func TestMeshModulesThatAreNotRun(t *testing.T) {
	mesh := town(t)
	client := mesh.Pods("client", "web-1")[0]
	status := func(want int) func() bool {
		return func() bool { return client.Get("http://web/").Status == want }
	}
	eventually(t, "web answers", status(200))
	apply(t, mesh, "module", plugin("FAIL_CLOSED"))
	eventually(t, "nothing passes a module that must not fail", status(500))
	apply(t, mesh, "module", plugin("FAIL_OPEN"))
	eventually(t, "a module that may fail is left out", status(200))
	remove(t, mesh, "module")
	stays(t, time.Second, "web answers without a module", status(200))
}
