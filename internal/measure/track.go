package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// Users inside a pod: the application's traffic is captured, the proxy's is not.
const (
	appUID   = 1000
	proxyUID = 1337
)

const (
	serverPort  = 8080
	haproxyPort = 18080
	plainHost   = "server.bench.svc.cluster.local"
	secureHost  = "secure.bench.svc.cluster.local"
)

// trackYAML has two clients, a server outside of the mesh (no tlsMode and no account, so
// that it is sent plain text) and one inside.
const trackYAML = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: client-1, namespace: bench }
spec: { address: 10.0.1.1, serviceAccount: client, labels: { app: client, security.istio.io/tlsMode: istio } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: client-2, namespace: bench }
spec: { address: 10.0.1.2, serviceAccount: client, labels: { app: client, security.istio.io/tlsMode: istio } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: server, namespace: bench }
spec: { address: 10.0.2.1, labels: { app: server } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: secure, namespace: bench }
spec: { address: 10.0.2.2, serviceAccount: secure, labels: { app: secure, security.istio.io/tlsMode: istio } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: server, namespace: bench }
spec:
  hosts: [server.bench.svc.cluster.local]
  addresses: [10.96.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: server } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: secure, namespace: bench }
spec:
  hosts: [secure.bench.svc.cluster.local]
  addresses: [10.96.0.2]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: secure } }
`

// haproxyConf is HAProxy as a plain reverse proxy: keep-alive on both sides, no
// logs, no rules.
const haproxyConf = `global
  nbthread %d
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
frontend in
  bind 127.0.0.1:%d
  default_backend server
backend server
  server one %s:%d
`

const nginxConf = `daemon off;
master_process off;
pid %[1]s/%[2]s.pid;
error_log stderr;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path %[1]s;
  proxy_temp_path %[1]s;
  fastcgi_temp_path %[1]s;
  uwsgi_temp_path %[1]s;
  scgi_temp_path %[1]s;
  server {
    listen %[3]d;
    location / { default_type text/plain; return 200 "%[4]s"; }
  }
}
`

// track is the mesh on which hops are measured, and what runs in it.
type track struct {
	mesh    *testmesh.Mesh
	dir     string
	clients []*testmesh.Pod // with one and with two threads
	secure  *testmesh.Pod
	haproxy []int // process ids, as clients

	stop    context.CancelFunc
	running sync.WaitGroup
}

// newTrack builds a track and waits until each of its programs answers.
func (b *bench) newTrack(ctx context.Context) (*track, error) {
	mesh, err := b.mesh(ctx, trackYAML)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "measure")
	if err != nil {
		return nil, errors.Join(err, mesh.Close())
	}
	t := &track{mesh: mesh, dir: dir}
	ctx, t.stop = context.WithCancel(ctx)
	if err := t.build(ctx); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *track) build(ctx context.Context) error {
	if err := os.Chmod(t.dir, 0o755); err != nil { //nolint:gosec // other users read their configuration there
		return err
	}
	server, err := t.mesh.AddPod(ctx, "server", testmesh.WithoutSidecar())
	if err != nil {
		return err
	}
	if t.secure, err = t.mesh.AddPod(ctx, "secure", threads(2)); err != nil {
		return err
	}
	for _, pod := range []*testmesh.Pod{server, t.secure} {
		if err := t.startServer(ctx, pod); err != nil {
			return err
		}
	}
	for n := range 2 {
		pod, err := t.mesh.AddPod(ctx, fmt.Sprintf("client-%d", n+1), threads(n+1))
		if err != nil {
			return err
		}
		pid, err := t.startHAProxy(ctx, pod, n+1, server.Addr().String())
		if err != nil {
			return err
		}
		t.clients, t.haproxy = append(t.clients, pod), append(t.haproxy, pid)
	}
	return nil
}

// threads limits a sidecar as an annotation of its pod would.
func threads(n int) testmesh.PodOption {
	return testmesh.WithProxyConfig(fmt.Sprintf(`{"concurrency":%d}`, n))
}

// startServer puts nginx in the place of a pod's application.
func (t *track) startServer(ctx context.Context, pod *testmesh.Pod) error {
	if err := pod.StopApp(); err != nil {
		return err
	}
	text := fmt.Sprintf(nginxConf, t.dir, pod.Name(), serverPort, strings.Repeat("x", 1024))
	if _, err := t.startProgram(ctx, pod, 0, "nginx", "-c", text); err != nil {
		return err
	}
	return answers(ctx, pod, fmt.Sprintf("http://%s:%d/", pod.Addr(), serverPort))
}

func (t *track) startHAProxy(ctx context.Context, pod *testmesh.Pod, threads int, server string) (int, error) {
	text := fmt.Sprintf(haproxyConf, threads, haproxyPort, server, serverPort)
	file, err := t.startProgram(ctx, pod, proxyUID, "haproxy", "-f", text)
	if err != nil {
		return 0, err
	}
	if err := answers(ctx, pod, fmt.Sprintf("http://127.0.0.1:%d/", haproxyPort)); err != nil {
		return 0, err
	}
	return findProcess("haproxy", file)
}

// startProgram runs a program of the host in a pod until t is closed, and
// returns the file with its configuration.
func (t *track) startProgram(ctx context.Context, pod *testmesh.Pod, uid int, name, flag, text string) (string, error) {
	file := filepath.Join(t.dir, name+"-"+pod.Name()+".conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // read by another user
		return "", err
	}
	t.running.Go(func() { _, _ = pod.Exec(ctx, uid, name, flag, file) }) // whether it runs is seen by its answers
	return file, nil
}

// answers waits until a URL gives 200.
func answers(ctx context.Context, pod *testmesh.Pod, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		reply := pod.Get(url)
		if reply.Err == nil && reply.Status == 200 {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %v", url, reply)
		}
	}
}

// ways are in pairs: what is measured and what it is compared with.
func (t *track) ways() []*way {
	plain, secure := fmt.Sprintf("http://%s:%d/", plainHost, serverPort), fmt.Sprintf("http://%s:%d/", secureHost, serverPort)
	direct := fmt.Sprintf("http://127.0.0.1:%d/", haproxyPort)
	host := []string{"-H", fmt.Sprintf("Host: %s:%d", plainHost, serverPort)}
	var ways []*way
	for i, pod := range t.clients {
		ways = append(
			ways,
			&way{name: fmt.Sprintf("outrigger, concurrency %d", i+1), from: pod, url: plain, pids: sidecars(pod)},
			&way{name: fmt.Sprintf("haproxy, nbthread %d", i+1), from: pod, url: direct, args: host, pids: func() []int { return t.haproxy[i : i+1] }},
		)
	}
	last := t.clients[len(t.clients)-1]
	return append(ways, &way{name: "two outriggers, mutual TLS", from: last, url: secure, pids: sidecars(last, t.secure)})
}

func sidecars(pods ...*testmesh.Pod) func() []int {
	return func() []int {
		pids := make([]int, len(pods))
		for i, p := range pods {
			pids[i] = p.SidecarPID()
		}
		return pids
	}
}

// close ends what runs and removes the mesh.
func (t *track) close() error {
	t.stop()
	t.running.Wait()
	return errors.Join(t.mesh.Close(), os.RemoveAll(t.dir))
}
