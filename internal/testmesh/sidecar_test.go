package testmesh_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

// standIn builds a program that tells how it was started and returns a folder
// that has it under the names of the product's binaries.
func standIn(t *testing.T) string {
	t.Helper()
	built, err := build.Builder{}.Programs(t.Context(), "internal/testmesh/testdata/standin")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"outrigger", "outrigger-init"} {
		if err := os.Symlink(filepath.Join(built, "standin"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func withStandIn(t *testing.T) testmesh.Option {
	t.Helper()
	dir := standIn(t)
	return testmesh.WithConfig(func(c *testmesh.Config) { c.BinDir = dir })
}

func TestMeshSidecarIsStartedAsAnInjectedContainer(t *testing.T) {
	mesh := testmesh.Start(t, shopDir, withStandIn(t), testmesh.WithCertTTL(time.Minute))
	web := mesh.Pod("web", testmesh.WithMetadata("DNS_CAPTURE", "true"))

	var got struct {
		Args, Env   []string
		UID, GID    int
		Status, Dir string
	}
	if err := json.Unmarshal(web.Admin("/").Body, &got); err != nil {
		t.Fatal(err)
	}
	if got.UID != 1337 || got.GID != 1337 || got.Dir != "/" {
		t.Errorf("got uid %d, gid %d, working directory %s", got.UID, got.GID, got.Dir)
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if !strings.Contains(got.Status, set+":\t0000000000000000\n") {
			t.Errorf("has capabilities left in %s:\n%s", set, got.Status)
		}
	}
	if !strings.Contains(got.Status, "NoNewPrivs:\t1\n") {
		t.Error("may gain privileges")
	}
	wantArgs := []string{"/usr/local/bin/outrigger", "proxy", "sidecar", "--domain", "shop.svc.cluster.local"}
	if len(got.Args) < 5 || !slices.Equal(got.Args[:5], wantArgs) {
		t.Errorf("got arguments %q, want %q first", got.Args, wantArgs)
	}
	for _, want := range []string{
		"POD_NAME=web", "POD_NAMESPACE=shop", "INSTANCE_IP=10.0.1.1", "SERVICE_ACCOUNT=web", "TRUST_DOMAIN=cluster.local",
		"CA_ADDR=istiod.istio-system.svc:15012", "ISTIO_META_CLUSTER_ID=Kubernetes", "ISTIO_META_DNS_CAPTURE=true",
		`ISTIO_META_POD_PORTS=[{"containerPort":8080,"protocol":"TCP"}]`, "ISTIO_META_INTERCEPTION_MODE=REDIRECT", "SECRET_TTL=1m0s",
	} {
		if !slices.Contains(got.Env, want) {
			t.Errorf("environment lacks %s: %q", want, got.Env)
		}
	}
}

func TestMeshSidecarSeesTheMountsOfItsPod(t *testing.T) {
	mesh := testmesh.Start(t, shopDir, withStandIn(t))
	web := mesh.Pod("web")
	for name, want := range map[string]string{
		"/var/run/secrets/istio/root-cert.pem": string(mesh.CA.Root()),
		"/var/run/secrets/tokens/istio-token":  ".",
		"/etc/istio/pod/labels":                "app=\"web\"\n",
		"/etc/hosts":                           "10.96.0.11 reviews\n",
		"/etc/resolv.conf":                     "search shop.svc.cluster.local",
		"/usr/local/bin/pilot-agent":           "ELF",
	} {
		r := web.Admin("/file?name=" + url.QueryEscape(name))
		if r.Status != http.StatusOK || !strings.Contains(string(r.Body), want) {
			t.Errorf("%s: got %v, want %.40q in it", name, r, want)
		}
	}
	for name, want := range map[string]int{
		"/etc/istio/proxy/x": 200, "/var/lib/istio/data/x": 200, "/var/run/secrets/workload-spiffe-uds/x": 200,
		"/x": 403, "/tmp/x": 403, "/etc/istio/pod/x": 403, "/var/run/secrets/tokens/x": 403,
	} {
		if r := web.Admin("/write?name=" + url.QueryEscape(name)); r.Status != want {
			t.Errorf("write %s: got %v, want %d", name, r, want)
		}
	}
	if _, err := os.Stat(web.File("/etc/istio/proxy/x")); err != nil {
		t.Error(err)
	}
	if stats, err := web.Stats(); err != nil || stats["c.d"] != "2" {
		t.Errorf("got stats %v, %v", stats, err)
	}
}

func TestMeshCaptureRunsAsRootWithTwoCapabilities(t *testing.T) {
	mesh := testmesh.Start(t, shopDir, withStandIn(t))
	mesh.Pod("web", testmesh.WithInitArgs("-q", "1"))
	text, err := os.ReadFile(mesh.LogFile("web.shop-init"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"args: -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 -q 1\n",
		"Uid:\t0\t0\t0\t0\n", "CapEff:\t0000000000003000\n", "CapBnd:\t0000000000003000\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got %s, want %q in it", text, want)
		}
	}
}

func TestMeshSidecarStopsStartsAndIsKilled(t *testing.T) {
	mesh := testmesh.Start(t, shopDir, withStandIn(t))
	web := mesh.Pod("web", testmesh.WithoutStart())
	if web.SidecarPID() != 0 {
		t.Fatal("the sidecar was started")
	}
	if err := web.StartSidecar(); err != nil {
		t.Fatal(err)
	}
	if err := web.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := web.SidecarPID()
	if rss, err := web.SidecarRSS(); err != nil || rss < 1<<20 {
		t.Errorf("got %d bytes, %v", rss, err)
	}
	if used, err := web.SidecarCPU(); err != nil || used > time.Minute {
		t.Errorf("got %v of processor time, %v", used, err)
	}
	if err := web.RestartSidecar(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pid := web.SidecarPID(); pid == first || pid == 0 {
		t.Errorf("got process %d after %d", pid, first)
	}
	if !strings.Contains(web.SidecarLog(), "standin ends\nstandin starts\n") {
		t.Errorf("got log %q", web.SidecarLog())
	}
	if err := web.KillSidecar(); err != nil {
		t.Fatal(err)
	}
	if pid := web.SidecarPID(); pid != 0 {
		t.Errorf("process %d survived", pid)
	}
	if err := web.StopSidecar(syscall.SIGTERM); err != nil {
		t.Errorf("stop after kill: %v", err)
	}
}

// TestMeshOfAKilledProcess runs itself as a child that is killed.
func TestMeshOfAKilledProcessLeavesNoProcessesAndIsRemoved(t *testing.T) {
	testmesh.Require(t)
	const childEnv = "TESTMESH_CHILD"
	if work := os.Getenv(childEnv); work != "" {
		mesh, err := testmesh.Up(t.Context(), testmesh.Config{Dir: shopDir, WorkDir: work})
		if err != nil {
			t.Fatal(err)
		}
		pod := mesh.PlainPod("web")
		report := mesh.ControlPlane().Path() + " " + pod.NetNS().Path()
		if err := os.WriteFile(work+"/up", []byte(report), 0o600); err != nil {
			t.Fatal(err)
		}
		<-t.Context().Done() // killed meanwhile
		return
	}
	work := filepath.Join(t.TempDir(), "mesh")
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), childEnv+"="+work)
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var paths []string
	eventually(t, time.Minute, func() bool {
		text, err := os.ReadFile(work + "/up")
		paths = strings.Fields(string(text))
		return err == nil && len(paths) == 2
	})
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // ends by the signal
	for _, path := range paths {
		inside, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, func() bool { return len(threadsIn(t, inside)) == 0 })
	}
	if err := testmesh.RemoveLeftovers(); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}

// threadsIn returns the threads of the machine that are in a network namespace.
func threadsIn(t *testing.T, inside os.FileInfo) []string {
	t.Helper()
	homes, err := filepath.Glob("/proc/[0-9]*/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(homes, func(home string) bool {
		fi, err := os.Stat(home)
		return err != nil || !os.SameFile(fi, inside)
	})
}

// eventually waits until ok is true.
func eventually(t *testing.T, limit time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v", limit)
		}
	}
}
