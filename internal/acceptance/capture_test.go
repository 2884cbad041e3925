package acceptance_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

func TestMeshCapturePortsRefuseDirectDials(t *testing.T) {
	mesh := town(t, testmesh.WithIstiodEnv("ISTIO_DUAL_STACK=true"), testmesh.WithSidecarEnv("ISTIO_DUAL_STACK=true", "ISTIO_META_ISTIO_DUAL_STACK=true"))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("plain", testmesh.WithIPv6())
	v4, v6 := solo.Addr().String(), "["+solo.Addresses()[1].String()+"]"

	before, used := rest(t, solo), cpu(t, solo)
	// From outside, port 15001 is a port like any other: it is captured, and the
	// dial behind the inbound passthrough is the one that is refused.
	const ask = "GET / HTTP/1.1\r\nhost: solo\r\nconnection: close\r\n\r\n"
	for _, port := range []string{"15001", "15006"} {
		for _, c := range []struct {
			name string
			pod  *testmesh.Pod
			host string
		}{
			{"from outside, IPv4", plain, v4},
			{"from outside, IPv6", plain, v6},
			{"from a pod of the mesh", client, v4},
			{"from inside, own address", solo, v4},
			{"from inside, own IPv6 address", solo, v6},
			{"from inside, loopback", solo, "127.0.0.1"},
			{"from inside, IPv6 loopback", solo, "[::1]"},
			{"from inside, another loopback address", solo, "127.0.0.6"},
		} {
			t.Run(port+" "+c.name, func(t *testing.T) {
				for range 20 {
					got, closed := talk(t, c.pod, c.host+":"+port, ask, soon)
					if !closed {
						t.Fatalf("got %q and no end", got)
					}
					if got != "" && !strings.HasPrefix(got, "HTTP/1.1 503 ") {
						t.Fatalf("was answered: %q", got)
					}
				}
			})
		}
	}
	t.Run("no descriptor is left and no loop turns", func(t *testing.T) {
		var after resting
		if !within(soon, func() bool { after = rest(t, solo); return after.Descriptors <= before.Descriptors+2 }) {
			t.Errorf("got %+v, before %+v", after, before)
		}
		if spent := cpu(t, solo) - used; spent > 10*time.Second {
			t.Errorf("320 refused connections cost %v of processor time", spent)
		}
		idle := cpu(t, solo)
		pause(time.Second)
		if spent := cpu(t, solo) - idle; spent > 500*time.Millisecond {
			t.Errorf("at rest, a second costs %v of processor time", spent)
		}
	})
	if r := client.Get("http://solo/"); r.Status != 200 {
		t.Errorf("afterwards: got %v", r)
	}
}

const headless = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: headless, namespace: town }
spec:
  hosts: [headless.town.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: NONE
  ports:
  - { number: 8090, name: http, protocol: HTTP }
  - { number: 3390, name: tcp, protocol: TCP }
`

const external = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ext, namespace: town }
spec:
  hosts: [ext.example.com]
  addresses: [10.96.8.8]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - { number: 80, name: http, protocol: HTTP, targetPort: 8090 }
  - { number: 3308, name: tcp, protocol: TCP }
  endpoints: [{ address: %s }]
`

func TestMeshOutboundReachesEveryKindOfDestination(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client")
	client, solo := pods[0], mesh.Pod("solo", testmesh.WithPort(8090, echo.HTTP), testmesh.WithPort(3390, echo.Echo))
	plain := mesh.PlainPod("plain", testmesh.WithPort(8090, echo.HTTP), testmesh.WithPort(80, echo.HTTP), testmesh.WithPort(3308, echo.Echo), testmesh.WithPort(3399, echo.Echo))
	outside := plain.Addr().String()

	t.Run("a pod reaches itself through its service", func(t *testing.T) {
		r := solo.Get("http://solo/self")
		if r.Echo == nil || r.Echo.Pod != "solo" || r.Echo.Path != "/self" {
			t.Fatalf("got %v", r)
		}
		if got := r.Echo.Header("x-forwarded-client-cert"); len(got) != 1 || !strings.Contains(got[0], "URI="+solo.Identity()) {
			t.Errorf("it did not pass both halves of its sidecar by mTLS: XFCC %q", got)
		}
		if err := echoes(dial(t, solo, "solo:3308")); err != nil {
			t.Errorf("TCP: %v", err)
		}
	})
	t.Run("a pod reaches its own address directly", func(t *testing.T) {
		r := solo.Get("http://" + solo.Addr().String() + ":8080/")
		if r.Echo == nil || r.Echo.Pod != "solo" || len(r.Echo.Header("x-envoy-attempt-count")) != 0 {
			t.Errorf("got %v %+v, want the application, untouched", r, r.Echo)
		}
	})
	t.Run("localhost is untouched", func(t *testing.T) {
		r := solo.Get("http://127.0.0.1:8080/")
		if r.Echo == nil || !strings.HasPrefix(strings.TrimPrefix(r.Echo.Remote, "[::ffff:"), "127.0.0.1") || len(r.Echo.Header("x-request-id")) != 0 {
			t.Errorf("got %v %+v", r, r.Echo)
		}
		if r := solo.Get("http://[::1]:8080/"); r.Echo == nil {
			t.Errorf("IPv6: got %v", r)
		}
	})
	t.Run("a service without address", func(t *testing.T) {
		apply(t, mesh, "headless", headless)
		ask := func() *testmesh.Reply {
			r := request(t, "GET", "http://"+solo.Addr().String()+":8090/", nil)
			r.Host = "headless.town.svc.cluster.local:8090"
			return client.Do(r)
		}
		eventually(t, "its clusters are there", func() bool {
			return strings.Contains(string(client.Admin("/config_dump").Body), "outbound|8090||headless")
		})
		if r := ask(); r.Echo == nil || r.Echo.Pod != "solo" {
			t.Errorf("HTTP: got %v", r)
		}
		if err := echoes(dial(t, client, solo.Addr().String()+":3390")); err != nil {
			t.Errorf("TCP: %v", err)
		}
	})
	t.Run("an external service", func(t *testing.T) {
		apply(t, mesh, "external", fmt.Sprintf(external, outside))
		ask := func() *testmesh.Reply {
			r := request(t, "GET", "http://10.96.8.8/", nil)
			r.Host = "ext.example.com"
			return client.Do(r)
		}
		eventually(t, "it answers", func() bool { r := ask(); return r.Echo != nil && r.Echo.Pod == "plain" })
		if r := ask(); r.Echo != nil && len(r.Echo.Header("x-envoy-peer-metadata")) != 0 {
			t.Errorf("peer metadata leaves the mesh: %+v", r.Echo)
		}
		if err := echoes(dial(t, client, "10.96.8.8:3308")); err != nil {
			t.Errorf("TCP: %v", err)
		}
	})
	t.Run("ALLOW_ANY lets unknown destinations pass", func(t *testing.T) {
		if err := echoes(dial(t, client, outside+":3399")); err != nil {
			t.Errorf("TCP: %v", err)
		}
		for _, port := range []string{"80", "8090"} { // with and without an HTTP listener on that port
			r := client.Get("http://" + outside + ":" + port + "/")
			if r.Echo == nil || r.Echo.Pod != "plain" {
				t.Errorf("port %s: got %v", port, r)
			}
		}
		if r := client.Get("http://10.0.99.99:80/"); r.Status != 503 {
			t.Errorf("nobody there, HTTP: got %v, want 503", r)
		}
	})
	t.Run("REGISTRY_ONLY blocks them", func(t *testing.T) {
		if err := mesh.SetMeshConfig(strings.Replace(testmesh.DefaultMeshConfig, "ALLOW_ANY", "REGISTRY_ONLY", 1)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "HTTP gets 502", func() bool { return client.Get("http://"+outside+":80/").Status == 502 })
		got, closed := talk(t, client, outside+":3399", "x", soon)
		if got != "" || !closed {
			t.Errorf("TCP: got %q, closed %v", got, closed)
		}
		got, closed = talk(t, client, outside+":3399", "GET / HTTP/1.1\r\nhost: x\r\n\r\n", soon)
		if got != "" || !closed {
			t.Errorf("HTTP on a port without listener: got %q, closed %v", got, closed)
		}
		if r := client.Get("http://solo/"); r.Status != 200 {
			t.Errorf("a known service: got %v", r)
		}
		if err := mesh.SetMeshConfig(testmesh.DefaultMeshConfig); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all pass again", func() bool { return client.Get("http://"+outside+":80/").Status == 200 })
	})
}

func TestMeshExcludedTrafficGoesAround(t *testing.T) {
	mesh := town(t)
	apply(t, mesh, "mode", peerAuthentication("STRICT", ""))
	plain := mesh.PlainPod("plain", testmesh.WithPort(3399, echo.Echo), testmesh.WithPort(8099, echo.HTTP))
	client := mesh.Pod("client", testmesh.WithInitArgs("-o", "8099", "-x", "10.0.250.0/24"))
	solo := mesh.Pod("solo", testmesh.WithInitArgs("-d", "15090,15021,15020,8081"))

	if r := plain.Get("http://" + solo.Addr().String() + ":8081/"); r.Echo == nil || !strings.Contains(r.Echo.Remote, plain.Addr().String()) {
		t.Errorf("an excluded inbound port: got %v %+v, want the peer's own address under STRICT", r, r.Echo)
	}
	if got, _ := talk(t, plain, solo.Addr().String()+":8080", "GET / HTTP/1.1\r\nhost: x\r\n\r\n", 3*time.Second); got != "" {
		t.Errorf("a port beside it: got %q", got)
	}
	kill := client.KillSidecar()
	if kill != nil {
		t.Fatal(kill)
	}
	if r := client.Get("http://" + plain.Addr().String() + ":8099/"); r.Echo == nil {
		t.Errorf("an excluded outbound port, sidecar dead: got %v", r)
	}
	if got, closed := talk(t, client, net.JoinHostPort(plain.Addr().String(), "3399"), "x", soon); got != "" || !closed {
		t.Errorf("a captured port, sidecar dead: got %q: traffic escapes", got)
	}
	if got, _ := talk(t, plain, client.Addr().String()+":8080", "x", 2*time.Second); got != "" {
		t.Errorf("inbound, sidecar dead: got %q", got)
	}
}
