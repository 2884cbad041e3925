package testmesh_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/shop"
)

const shopDir = "shop/mesh"

func TestMeshStartsAndPlainPodsReachEachOther(t *testing.T) {
	mesh := testmesh.Start(t, shopDir)
	web, reviews, db := mesh.PlainPod("web"), mesh.PlainPod("reviews-v1"), mesh.PlainPod("db", testmesh.WithIPv6())

	for _, url := range []string{"http://reviews-v1:9080/a?b=c", "http://10.0.2.1:9080/a?b=c", "http://reviews-v1.shop:9080/a?b=c"} {
		r := web.Get(url)
		if r.Err != nil || r.Status != 200 || r.Echo == nil {
			t.Fatalf("%s: got %v", url, r)
		}
		if r.Echo.Pod != "reviews-v1" || r.Echo.Version != "v1" || !strings.HasPrefix(r.Echo.Remote, "10.0.1.1:") {
			t.Errorf("%s: got %+v", url, r.Echo)
		}
	}
	if got, err := reviews.Exec(t.Context(), 1000, "id", "-u"); strings.TrimSpace(got) != "1000" || err != nil {
		t.Errorf("got uid %q, %v", got, err)
	}
	for _, addr := range db.Addresses() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c, err := mesh.PlainPod("web2", testmesh.WithIPv6()).Dial(ctx, "tcp", netipPort(addr.String(), 3306))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if want := echo.Greeting("db", "v1"); line != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", addr, line, err, want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if r := web.Get("http://reviews:9080/"); r.Err == nil {
		t.Errorf("a virtual address answers without a sidecar: %v", r)
	} else if r.Elapsed > 20*time.Second {
		t.Errorf("a virtual address takes %v to fail", r.Elapsed)
	}
}

func netipPort(addr string, port int) string {
	if strings.Contains(addr, ":") {
		addr = "[" + addr + "]"
	}
	return fmt.Sprintf("%s:%d", addr, port)
}

func TestMeshApplyIsLoadedByIstiodAndRejectedIfBad(t *testing.T) {
	mesh := testmesh.Start(t, shopDir)
	const entry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: extra, namespace: shop }
spec:
  hosts: [extra.shop.svc.cluster.local]
  addresses: [10.96.9.9]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.1.1 }]
`
	pod := mesh.PlainPod("ratings")
	if err := mesh.Apply("extra", entry); err != nil {
		t.Fatal(err)
	}
	if got := configz(t, mesh); !strings.Contains(got, "extra.shop.svc.cluster.local") {
		t.Errorf("istiod has not the new host: %s", got)
	}
	if addrs, err := pod.Lookup("extra"); err != nil || len(addrs) != 1 || addrs[0].String() != "10.96.9.9" {
		t.Errorf("got %v, %v", addrs, err)
	}
	if got, err := pod.Exec(t.Context(), 1000, "cat", "/etc/hosts"); !strings.Contains(got, "10.96.9.9 extra\n") || err != nil {
		t.Errorf("got hosts %q, %v", got, err)
	}

	bad := strings.ReplaceAll(entry, "number: 80", "number: 800000")
	err := mesh.Apply("extra", bad)
	if err == nil || !strings.Contains(err.Error(), "unable to reload file") {
		t.Errorf("got %v, want istiod's refusal", err)
	}
	if err := mesh.Delete("extra"); err != nil {
		t.Fatal(err)
	}
	if got := configz(t, mesh); strings.Contains(got, "extra.shop.svc.cluster.local") {
		t.Error("istiod still has the deleted host")
	}
}

func configz(t *testing.T, mesh *testmesh.Mesh) string {
	t.Helper()
	got, err := mesh.Debug(t.Context(), "/debug/configz")
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestMeshWithABadFolderDoesNotStart(t *testing.T) {
	testmesh.Require(t)
	bad := fstest.MapFS{"x.yaml": {Data: []byte(strings.ReplaceAll(testmesh.ManyServices(1, 1), "8080", "808080"))}}
	mesh, err := testmesh.Up(t.Context(), testmesh.Config{FS: bad, WorkDir: filepath.Join(t.TempDir(), "mesh")})
	if err == nil {
		t.Error("a mesh of invalid configuration starts", mesh.Close())
	}
	t.Log(err)
}

func TestMeshIstiodRestartsAndIsKilled(t *testing.T) {
	mesh := testmesh.Start(t, shopDir, testmesh.WithCertTTL(10*time.Minute))
	if err := mesh.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := mesh.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.Debug(t.Context(), "/debug/syncz"); err == nil {
		t.Error("a killed istiod answers")
	}
	if err := mesh.Apply("while-down", testmesh.ManyServices(3, 2)); err != nil {
		t.Fatal(err)
	}
	if err := mesh.StartIstiod(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := configz(t, mesh); !strings.Contains(got, "service-2.many.svc.cluster.local") {
		t.Error("istiod has not what was applied while it was down")
	}
}

func TestMeshBulkCopyBetweenPods(t *testing.T) {
	mesh := testmesh.Start(t, shopDir)
	db := mesh.PlainPod("db")
	c, err := mesh.PlainPod("web").Dial(t.Context(), "tcp", db.Addr().String()+":3307")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := echo.Exchange(c.(*net.TCPConn), 1<<20, 4<<20); err != nil {
		t.Fatal(err)
	}
}

func TestMeshLeavesNothingBehind(t *testing.T) {
	testmesh.Require(t)
	work := filepath.Join(t.TempDir(), "mesh")
	mesh, err := testmesh.Up(t.Context(), testmesh.Config{FS: shop.Files(), WorkDir: work})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := mesh.AddPod(t.Context(), "web", testmesh.WithoutSidecar())
	if err != nil {
		t.Fatal(err)
	}
	spaces := []*netns.Namespace{mesh.ControlPlane(), pod.NetNS()}
	inside := map[string]os.FileInfo{}
	for _, ns := range spaces {
		if inside[ns.Name()], err = os.Stat(ns.Path()); err != nil {
			t.Fatal(err)
		}
	}
	if r := pod.Get("http://web:8080/"); r.Err == nil {
		t.Errorf("got %v", r)
	}
	if err := mesh.Close(); err != nil {
		t.Error(err)
	}
	for _, ns := range spaces {
		for _, path := range []string{ns.Path(), "/etc/netns/" + ns.Name()} {
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s is still there", path)
			}
		}
	}
	if _, err := os.Stat(work); err == nil {
		t.Errorf("%s is still there", work)
	}
	for name, was := range inside {
		if left := threadsIn(t, was); len(left) > 0 {
			t.Errorf("still in %s: %v", name, left)
		}
	}
}

func TestMeshRemovesLeftoversOfTheDeadOnly(t *testing.T) {
	testmesh.Require(t)
	const nobody = 1 << 22 // above the kernel's largest process id
	dead, err := netns.Create(fmt.Sprintf("outrigger-%d-1-1-web", nobody))
	if err != nil {
		t.Fatal(err)
	}
	other, err := netns.Create(fmt.Sprintf("outrigger-unit-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, ns := range []*netns.Namespace{dead, other} {
			if err := ns.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := netns.Remove(other.Name()); err != nil {
			t.Error(err)
		}
	})
	mesh := testmesh.Start(t, "")
	if _, err := os.Stat(dead.Path()); err == nil {
		t.Error("the dead owner's namespace is still there")
	}
	if err := testmesh.RemoveLeftovers(); err != nil {
		t.Error(err)
	}
	for _, ns := range []*netns.Namespace{other, mesh.ControlPlane()} {
		if _, err := os.Stat(ns.Path()); err != nil {
			t.Errorf("not a leftover: %v", err)
		}
	}
}
