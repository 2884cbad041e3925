package acceptance_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// teapot is a service-wide direct response, easy to see from outside.
func teapot(path string, status int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: solo, namespace: town }
spec:
  hosts: [solo.town.svc.cluster.local]
  http:
  - match: [{ uri: { exact: %s } }]
    directResponse: { status: %d, body: { string: from the rule } }
  - route: [{ destination: { host: solo.town.svc.cluster.local, port: { number: 80 } } }]
`, path, status)
}

const late = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: late, namespace: town }
spec:
  hosts: [late.town.svc.cluster.local]
  addresses: [10.96.7.7]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: 8080 }, { number: 3308, name: tcp-echo, protocol: TCP }]
  workloadSelector: { labels: { app: solo } }
`

// elsewhere is a service that no pod of the town is behind.
const elsewhere = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: elsewhere, namespace: town }
spec:
  hosts: [elsewhere.town.svc.cluster.local]
  addresses: [10.96.7.8]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }, { number: 3308, name: tcp-echo, protocol: TCP }]
  endpoints: [{ address: 10.9.9.9 }]
`

func start(t *testing.T, mesh *testmesh.Mesh) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := mesh.StartIstiod(ctx); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, mesh *testmesh.Mesh) {
	t.Helper()
	if err := mesh.Kill(); err != nil {
		t.Fatal(err)
	}
}

// reconnected waits until istiod has these sidecars again.
func reconnected(t *testing.T, mesh *testmesh.Mesh, pods ...*testmesh.Pod) {
	t.Helper()
	eventually(t, "the sidecars are connected to istiod", func() bool {
		text, err := mesh.Debug(t.Context(), "/debug/connections")
		for _, p := range pods {
			if err != nil || !bytes.Contains(text, []byte(p.Name()+"."+p.Namespace())) {
				return false
			}
		}
		return true
	})
}

func TestMeshIstiodComesAndGoesUnderLoad(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "web-1", "web-2", "web-3", "solo")
	client := pods[0]

	t.Run("killed and restarted at 1000 requests a second", func(t *testing.T) {
		tcp := dial(t, client, "solo:3308")
		running := startLoad(t, client, "http://web/", 1000)
		pause(time.Second)
		kill(t, mesh)
		pause(2 * time.Second)
		start(t, mesh)
		reconnected(t, mesh, pods...)
		pause(time.Second)
		if err := echoes(tcp); err != nil {
			t.Errorf("the long connection: %v", err)
		}
		y := running.end()
		if y.bad() > 0 {
			t.Errorf("requests failed: %v", y)
		}
		if got := float64(y.Good) / y.Elapsed.Seconds(); got < 100 { // a busy machine does not reach the 1000
			t.Errorf("got %.0f requests a second, want close to 1000", got)
		}
		t.Log(y)
	})
	t.Run("what changed while it was down arrives, what was removed vanishes", func(t *testing.T) {
		apply(t, mesh, "late", late)
		apply(t, mesh, "teapot", teapot("/teapot", 418))
		eventually(t, "the rule is in force", func() bool { return client.Get("http://solo/teapot").Status == 418 })
		eventually(t, "the service is there", func() bool { return client.Get("http://10.96.7.7/").Status == 200 })
		old := dial(t, client, "10.96.7.7:3308")
		if err := echoes(old); err != nil {
			t.Fatal(err)
		}

		running := startLoad(t, client, "http://web/", 300)
		kill(t, mesh)
		remove(t, mesh, "late")
		remove(t, mesh, "teapot")
		apply(t, mesh, "weights", subsets+"---\n"+weights(0, 0, 100))
		if got := client.Get("http://solo/teapot").Status; got != 418 {
			t.Errorf("istiod down: the old rule gives %d, want 418", got)
		}
		start(t, mesh)
		eventually(t, "the rule is gone", func() bool { return client.Get("http://solo/teapot").Status == 200 })
		eventually(t, "the weights are in force", func() bool {
			for range 10 {
				if r := client.Get("http://web/"); r.Echo == nil || r.Echo.Pod != "web-3" {
					return false
				}
			}
			return true
		})
		eventually(t, "the removed service's clusters and listeners are gone", func() bool {
			dump := client.Admin("/config_dump").Body
			return !bytes.Contains(dump, []byte("late.town")) && !bytes.Contains(dump, []byte("10.96.7.7_3308"))
		})
		if _, ok := talk(t, client, "10.96.7.7:3308", "x", soon); !ok {
			t.Error("a removed service's port still answers")
		}
		running.lossless(t, 50)
	})
}

// connections opens one echo or keep-alive connection per kind of listener.
func connections(t *testing.T, client, plain *testmesh.Pod, solo *testmesh.Pod) map[string]func() error {
	t.Helper()
	checks := map[string]func() error{}
	for name, where := range map[string]struct {
		pod  *testmesh.Pod
		addr string
	}{
		"service address, TCP":    {client, "solo:3308"},
		"pod address, TCP":        {client, solo.Addr().String() + ":3308"},
		"passthrough, TCP":        {client, plain.Addr().String() + ":3308"},
		"from outside, TCP":       {plain, solo.Addr().String() + ":3308"},
		"inbound passthrough":     {plain, solo.Addr().String() + ":7777"},
		"service address, HTTP":   {client, "solo:80"},
		"from outside, HTTP":      {plain, solo.Addr().String() + ":8080"},
		"passthrough of HTTP":     {client, plain.Addr().String() + ":80"},
		"passthrough, other port": {client, plain.Addr().String() + ":7777"},
	} {
		c := dial(t, where.pod, where.addr)
		check := func() error { return echoes(c) }
		if strings.Contains(name, "HTTP") {
			check = func() error { return keepsAlive(c) }
		}
		if err := check(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checks[name] = check
	}
	return checks
}

// keepsAlive makes a request on a connection in use.
func keepsAlive(c io.ReadWriter) error {
	const ask = "GET /?size=2 HTTP/1.1\r\nhost: solo\r\n\r\n"
	if _, err := io.WriteString(c, ask); err != nil {
		return err
	}
	var got []byte
	for buf := make([]byte, 4096); !bytes.Contains(got, []byte("\r\n\r\n")) || len(got[bytes.Index(got, []byte("\r\n\r\n")):]) < 6; {
		n, err := c.Read(buf)
		if err != nil {
			return fmt.Errorf("after %q: %w", got, err)
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 200")) || bytes.Contains(bytes.ToLower(got), []byte("connection: close")) {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

// touch rewrites every file of istiod's configuration with the same content.
func touch(t *testing.T, mesh *testmesh.Mesh) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(mesh.ConfigDir(), "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no configuration files: %v", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tmp := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(tmp, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMeshPushThatChangesNothingDisturbsNothing(t *testing.T) {
	mesh := town(t)
	apply(t, mesh, "rules", subsets+"---\n"+teapot("/teapot", 418))
	pods := mesh.Pods("client", "web-1", "web-2", "web-3")
	client, solo := pods[0], mesh.Pod("solo", testmesh.WithPort(7777, "echo"))
	plain := mesh.PlainPod("stranger", testmesh.WithPort(3308, "echo"), testmesh.WithPort(7777, "echo"), testmesh.WithPort(80, "http"))

	checks := connections(t, client, plain, solo)
	drained := func() string {
		stats, err := client.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return stats["listener_manager.listener_modified"] + " modified, " + stats["listener_manager.listener_in_place_updated"] + " in place"
	}
	before := drained()
	alive := func(t *testing.T) {
		t.Helper()
		for name, check := range checks {
			if err := check(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after := drained(); after != before {
			t.Errorf("listeners were changed: %s, then %s", before, after)
		}
	}
	t.Run("files written again", func(t *testing.T) {
		for range 3 {
			touch(t, mesh)
			pause(500 * time.Millisecond)
		}
		alive(t)
	})
	t.Run("unrelated configuration comes and goes", func(t *testing.T) {
		for range 5 { // a full push each; maps are shuffled anew
			apply(t, mesh, "elsewhere", elsewhere)
			remove(t, mesh, "elsewhere")
		}
		pause(500 * time.Millisecond)
		for name, check := range checks {
			if err := check(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		before = drained()
	})
	t.Run("istiod restarted", func(t *testing.T) {
		for range 2 {
			if err := mesh.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			reconnected(t, mesh, client, solo)
		}
		pause(time.Second)
		alive(t)
		for _, p := range []*testmesh.Pod{client, solo} {
			if log := p.SidecarLog(); strings.Contains(log, "rejected") || strings.Contains(log, "drain") {
				t.Errorf("%s rejected or drained:\n%s", p.Name(), log)
			}
		}
	})
}
