package testmesh

import (
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

const townYAML = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: web, namespace: town }
spec:
  hosts: [web.town.svc.cluster.local, "*.wild.example.com"]
  addresses: [10.96.0.1, 10.97.0.0/16]
  ports:
  - { number: 80, name: http, protocol: HTTP, targetPort: 8080 }
  - { number: 81, name: auto }
  - { number: 82, name: tcp-greet, protocol: TCP }
  - { number: 83, name: bulk, protocol: TCP }
  - { number: 84, name: tls, protocol: TLS }
  - { number: 85, name: moved, protocol: TCP }
  workloadSelector: { labels: { app: web } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: headless, namespace: town }
spec:
  hosts: [headless.town.svc.cluster.local]
  ports: [{ number: 9042, name: tcp, protocol: TCP }]
  workloadSelector: { labels: { app: web } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside, namespace: other }
spec:
  hosts: [api.example.com]
  ports: [{ number: 443, name: https, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1, ports: { https: 4443 } }]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: web-1, namespace: town }
spec: { address: 10.0.0.1, serviceAccount: web, labels: { app: web, version: v1 }, ports: { moved: 8585 } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: web-1, namespace: other }
spec: { address: 10.0.0.2, labels: { app: web } }
`

func town(t *testing.T) *topology {
	t.Helper()
	objects, err := parse(townYAML)
	if err != nil {
		t.Fatal(err)
	}
	shape, err := newTopology(objects)
	if err != nil {
		t.Fatal(err)
	}
	return shape
}

func TestPortsOfAPodFollowItsServices(t *testing.T) {
	shape := town(t)
	w, err := shape.find("web-1.town")
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	want := []echo.Port{
		{Number: 81, Kind: echo.HTTP},
		{Number: 82, Kind: echo.Greet},
		{Number: 83, Kind: echo.Bulk},
		{Number: 84, Kind: echo.Echo},
		{Number: 4443, Kind: echo.HTTP},
		{Number: 8080, Kind: echo.HTTP},
		{Number: 8585, Kind: echo.Echo},
		{Number: 9042, Kind: echo.Echo},
	}
	if got := shape.ports(w); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAmbiguousPodNamesAreRefused(t *testing.T) {
	shape := town(t)
	if _, err := shape.find("web-1"); err == nil {
		t.Error("a name in two namespaces is taken")
	}
	if w, err := shape.find("nobody"); w != nil || err != nil {
		t.Errorf("got %v, %v", w, err)
	}
}

func TestNamesDependOnTheNamespace(t *testing.T) {
	shape := town(t)
	for name, want := range map[string][2]string{
		"web.town.svc.cluster.local": {"10.96.0.1", "10.96.0.1"},
		"web.town.svc":               {"10.96.0.1", "10.96.0.1"},
		"web.town":                   {"10.96.0.1", "10.96.0.1"},
		"web":                        {"10.96.0.1", ""},
		"headless":                   {"10.0.0.1", ""},
		"api.example.com":            {"10.0.0.1", "10.0.0.1"},
		"web-1":                      {"10.0.0.1", "10.0.0.2"},
		"web-1.other":                {"10.0.0.2", "10.0.0.2"},
		"istiod.istio-system.svc":    {"10.0.255.1", "10.0.255.1"},
		"[fd00::1]":                  {"fd00::1", "fd00::1"},
		"nobody":                     {"", ""},
	} {
		for i, namespace := range []string{"town", "other"} {
			addrs, err := newHostTable(shape, namespace).lookup(name)
			var got string
			if err == nil {
				got = addrs[0].String()
			}
			if got != want[i] {
				t.Errorf("%s in %s: got %q, want %q", name, namespace, got, want[i])
			}
		}
	}
	if text := newHostTable(shape, "town").text(); strings.Contains(text, "*") || !strings.Contains(text, "10.96.0.1 web\n") {
		t.Errorf("got hosts file %s", text)
	}
}

func TestStampChangesWithTheObjectAlone(t *testing.T) {
	stampOf := func(text string) string {
		objects, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return metaOf(objects[0]).Annotations[stamp]
	}
	const text = "apiVersion: x.istio.io/v1\nkind: K\nmetadata: { name: one, namespace: town }\nspec: { a: 1, b: 2 }\n"
	first := stampOf(text)
	objects, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if again := stampOf(render(objects)); again != first {
		t.Errorf("got %s for the rendered object, want %s", again, first)
	}
	if same := stampOf(strings.Replace(text, "a: 1, b: 2", "b: 2, a: 1", 1)); same != first {
		t.Errorf("got %s for another order, want %s", same, first)
	}
	if other := stampOf(strings.Replace(text, "a: 1", "a: 3", 1)); other == first {
		t.Error("another object has the same stamp")
	}
}

func TestOwnersNameIsReadBack(t *testing.T) {
	run, err := runName()
	if err != nil {
		t.Fatal(err)
	}
	pid, start, ok := owner(run + "-web.town")
	if !ok || !alive(pid, start) {
		t.Errorf("%s: got %d %s %v, want ourselves", run, pid, start, ok)
	}
	for _, name := range []string{"", "outrigger-init", "outrigger-unit-1-2", "outrigger--1-2-3", "web", "outrigger-1-2"} {
		if _, _, ok := owner(name); ok {
			t.Errorf("%q is taken for ours", name)
		}
	}
	if alive(pid, start+"0") {
		t.Error("another process of the same id is taken for the owner")
	}
}
