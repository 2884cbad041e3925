package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing/fstest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/outrigger-mesh/outrigger/bench"
	"github.com/outrigger-mesh/outrigger/bench/peers"
	"github.com/outrigger-mesh/outrigger/bench/report"
	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

const (
	endpointsPer = 10
	podNamespace = "bench"
	// listenWait bounds the start of a sidecar.
	listenWait = 3 * time.Minute
	// firstStart bounds the start of the sidecar that is asked who it is.
	firstStart = time.Minute
)

// world has the meshes that were brought up so far, by number of services.
type world struct {
	binaries, envoy string // immutable
	progress        io.Writer

	meshes map[int]*town
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(w.progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// town is one mesh.
type town struct {
	world *world
	mesh  *testmesh.Mesh
	pods  map[string]*testmesh.Pod // by subject
	node  *corev3.Node             // who Envoy says that it is

	stop    context.CancelFunc // of the relays
	context context.Context    //nolint:containedctx // of the relays, which outlive the call that starts them
	relays  sync.WaitGroup
}

// pods are two clients alike.
func objects(services int) fs.FS {
	var text strings.Builder
	for i, subject := range []string{report.Outrigger, report.Envoy} {
		fmt.Fprintf(&text, `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: %s, namespace: %s }
spec: { address: 10.0.1.%d, serviceAccount: client, labels: { app: client, security.istio.io/tlsMode: istio } }
---
`, subject, podNamespace, i+1)
	}
	return fstest.MapFS{"mesh.yaml": &fstest.MapFile{Data: []byte(text.String() + testmesh.ManyServices(services, endpointsPer))}}
}

// Sidecar implements bench.Mesh.
func (w *world) Sidecar(ctx context.Context, subject string, services int) (*bench.Sidecar, error) {
	if subject == report.Envoy && w.envoy == "" {
		return nil, peers.ErrUnsupported
	}
	t := w.meshes[services]
	if t == nil {
		w.say("a mesh of %d services with an istiod", services)
		var err error
		if t, err = w.build(ctx, services); err != nil {
			return nil, fmt.Errorf("mesh: %w", err)
		}
		w.meshes[services] = t
	}
	return t.start(ctx, subject)
}

// build brings up a mesh, and learns who the pod of Envoy is to istiod.
func (w *world) build(ctx context.Context, services int) (*town, error) {
	mesh, err := testmesh.Up(ctx, testmesh.Config{FS: objects(services), BinDir: w.binaries})
	if err != nil {
		return nil, err
	}
	t := &town{world: w, mesh: mesh, pods: make(map[string]*testmesh.Pod)}
	t.context, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, subject := range []string{report.Outrigger, report.Envoy} {
		pod, err := mesh.AddPod(ctx, subject, testmesh.WithoutStart(), testmesh.WithProxyConfig(`{"concurrency":2}`))
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.pods[subject] = pod
	}
	if w.envoy != "" {
		if err := t.learn(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("node of Envoy's pod: %w", err), t.close())
		}
	}
	return t, nil
}

// close ends the relays and removes the mesh.
func (t *town) close() error {
	t.stop()
	t.relays.Wait()
	return t.mesh.Close()
}

// start starts a subject's sidecar anew.
func (t *town) start(ctx context.Context, subject string) (*bench.Sidecar, error) {
	pod := t.pods[subject]
	if err := pod.KillSidecar(); err != nil {
		return nil, err
	}
	pushes, err := t.follow()
	if err != nil {
		return nil, err
	}
	defer pushes.close()
	begin := pod.StartSidecar
	if subject == report.Envoy {
		if begin, err = t.envoy(pod); err != nil {
			return nil, err
		}
	}
	out := &bench.Sidecar{Began: time.Now()}
	if err := begin(); err != nil {
		return nil, err
	}
	out.PID, out.Stop = pod.SidecarPID(), func() error { return pod.StopSidecar(syscall.SIGKILL) }
	ctx, cancel := context.WithTimeout(ctx, listenWait)
	defer cancel()
	err = listens(ctx, pod)
	out.Listening = time.Now()
	if err == nil {
		out.Pushed, err = pushes.first(pod.Name() + "." + pod.Namespace())
	}
	if err != nil {
		return nil, errors.Join(err, out.Stop())
	}
	return out, nil
}
