package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// Targets of the start, in milliseconds, and the mesh it is measured with.
const (
	startTarget      = 150.0
	startServices    = 100
	endpointsPer     = 10
	startPodName     = "client"
	startPodFullName = startPodName + ".bench"
)

const clientYAML = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: client, namespace: bench }
spec: { address: 10.0.1.1, serviceAccount: client, labels: { app: client, security.istio.io/tlsMode: istio } }
`

// start measures how long a sidecar takes from its configuration to readiness.
func (b *bench) start(ctx context.Context) (err error) {
	mesh, err := b.mesh(ctx, clientYAML+testmesh.ManyServices(startServices, endpointsPer))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mesh.Close()) }()
	pod, err := mesh.AddPod(ctx, startPodName)
	if err != nil {
		return err
	}
	pushed := series{name: "first CDS push to ready, ms", format: "%.0f"}
	process := series{name: "process start to ready, ms", format: "%.0f"}
	cpu := series{name: "CPU until ready, ms", format: "%.0f"}
	for range pick(b, 20, 3) {
		s, err := startOnce(ctx, mesh, pod)
		if err != nil {
			return err
		}
		pushed.values = append(pushed.values, milliseconds(s.ready.Sub(s.pushed)))
		process.values = append(process.values, milliseconds(s.ready.Sub(s.began)))
		cpu.values = append(cpu.values, milliseconds(s.cpu))
	}
	pushed.note = "p95 " + verdict(quantile(pushed.values, 0.95), startTarget, "%.0f")
	title := fmt.Sprintf("start: %d services with %d endpoints each", startServices, endpointsPer)
	return table(b.out, title, []series{pushed, process, cpu})
}

// begin is one start of a sidecar.
type begin struct {
	began, pushed, ready time.Time
	cpu                  time.Duration
}

// startOnce kills the sidecar, starts it and waits until it is ready. When its
// clusters were pushed is what istiod's log says, which is written once the push
// is in the hands of the transport.
func startOnce(ctx context.Context, mesh *testmesh.Mesh, pod *testmesh.Pod) (begin, error) {
	if err := pod.KillSidecar(); err != nil {
		return begin{}, err
	}
	log, err := os.Open(mesh.LogFile("istiod"))
	if err != nil {
		return begin{}, err
	}
	defer log.Close()
	if _, err := log.Seek(0, io.SeekEnd); err != nil {
		return begin{}, err
	}
	s := begin{began: time.Now()}
	if err := pod.StartSidecar(); err != nil {
		return s, err
	}
	if s.ready, err = readyAt(ctx, mesh, pod); err != nil {
		return s, err
	}
	if s.cpu, err = cpuTime(pod.SidecarPID()); err != nil {
		return s, err
	}
	text, err := io.ReadAll(log)
	if err != nil {
		return s, err
	}
	s.pushed, err = pushTime(text, startPodFullName)
	return s, err
}

// readyAt asks the readiness port every two milliseconds, from outside of the
// pod, and returns when it first said 200.
func readyAt(ctx context.Context, mesh *testmesh.Mesh, pod *testmesh.Pod) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: mesh.ControlPlane().Dial}}
	defer client.CloseIdleConnections()
	url := "http://" + net.JoinHostPort(pod.Addr().String(), "15021") + "/healthz/ready"
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		why := ask(ctx, client, url)
		if why == nil {
			return time.Now(), nil
		}
		select {
		case <-pause.C:
		case <-pod.SidecarDone():
			return time.Time{}, fmt.Errorf("sidecar ended: %w\n%s", why, pod.SidecarLog())
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("not ready: %w", why)
		}
	}
}

// ask returns nil if the URL gives 200.
func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return err
}

// pushTime finds when istiod first pushed clusters to a node.
func pushTime(log []byte, node string) (time.Time, error) {
	for line := range bytes.Lines(log) {
		if !bytes.Contains(line, []byte("CDS: PUSH")) || !bytes.Contains(line, []byte("node:"+node)) {
			continue
		}
		stamp, _, _ := bytes.Cut(line, []byte("\t"))
		return time.Parse(time.RFC3339Nano, string(stamp))
	}
	return time.Time{}, fmt.Errorf("istiod's log has no push of clusters to %s", node)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
