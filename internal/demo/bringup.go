package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/shop"
)

// demo is the running mesh with its pods and what steps tell each other.
type demo struct {
	// immutable
	screen *screen
	mesh   *testmesh.Mesh
	meshed []*testmesh.Pod // those with sidecar

	web, reviews1, db *testmesh.Pod
	ratings           [2]*testmesh.Pod
	intruder          *testmesh.Pod // plain, as are the next two
	caller, server    *testmesh.Pod

	// owned by the steps, which run one after the other
	cpuPerRequest time.Duration // of both sidecars; set by the step with the most requests
}

// Addresses of the shop, as its pods know them.
const (
	reviewsAddr = "reviews:9080"
	ratingsAddr = "ratings:9080"
	plainPort   = 8080
)

// secondRatings is what the demo adds to the shop: a pod to go on with where one
// is lost, and leave to do so.
const secondRatings = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ratings, namespace: shop }
spec:
  hosts: [ratings.shop.svc.cluster.local]
  http:
  - route: [{ destination: { host: ratings.shop.svc.cluster.local } }]
    retries: { attempts: 5, retryOn: "connect-failure,refused-stream,reset" }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ratings-2, namespace: shop }
spec:
  address: 10.0.3.2
  serviceAccount: ratings
  labels: { app: ratings, version: v1, security.istio.io/tlsMode: istio, service.istio.io/canonical-name: ratings }
`

// bringUp builds what is missing, starts istiod and makes the pods.
func bringUp(ctx context.Context, s *screen, o options) (*demo, error) {
	p := &progress{screen: s, began: time.Now(), line: "looking for what must be built"}
	d := &demo{screen: s}
	s.print(s.paint(bold, "Bringing up the mesh") + " (istiod is compiled at the first run, about 5 minutes; later, seconds)")
	err := s.during(p.picture, func() (err error) {
		d.mesh, err = testmesh.Up(ctx, testmesh.Config{
			FS: shop.Files(), MeshConfig: meshConfig(), BinDir: o.binDir, Progress: p.note,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bring up the control plane: %w", err)
	}
	s.printf("%sistiod is up after %s", indent, span(time.Since(p.began)))
	began := time.Now()
	if err := s.during(p.picture, func() error { return d.addPods(ctx) }); err != nil {
		return nil, errors.Join(fmt.Errorf("bring up the shop: %w", err), d.takeDown())
	}
	s.printf("%s%d pods with sidecar and 3 without are ready after %s more", indent, len(d.meshed), span(time.Since(began)))
	d.printPods()
	return d, nil
}

func (d *demo) addPods(ctx context.Context) error {
	if err := d.mesh.Apply("ratings-2", secondRatings); err != nil {
		return err
	}
	var err error
	d.meshed, err = d.mesh.AddPods(ctx, append(shop.Pods(), "ratings-2")...)
	if err != nil {
		return err
	}
	byName := map[string]*testmesh.Pod{}
	for _, p := range d.meshed {
		byName[p.Name()] = p
	}
	d.web, d.reviews1, d.db = byName["web"], byName["reviews-v1"], byName["db"]
	d.ratings = [2]*testmesh.Pod{byName["ratings"], byName["ratings-2"]}
	g, ctx := errgroup.WithContext(ctx)
	for name, pod := range map[string]**testmesh.Pod{"intruder": &d.intruder, "plain-caller": &d.caller, "plain-server": &d.server} {
		g.Go(func() (err error) {
			*pod, err = d.plainPod(ctx, name, testmesh.WithPort(plainPort, echo.HTTP))
			return err
		})
	}
	return g.Wait()
}

func (d *demo) printPods() {
	t := table{heads: []string{"pod", "address", "identity (SPIFFE)"}}
	for _, p := range d.meshed {
		t.add(p.Name(), p.Addr().String(), p.Identity())
	}
	for _, p := range []*testmesh.Pod{d.intruder, d.caller, d.server} {
		t.add(p.Name(), p.Addr().String(), "none, no sidecar")
	}
	d.screen.show(&t)
	d.screen.print("")
}

// progress turns what the test mesh tells into pictures.
type progress struct {
	// immutable
	screen *screen
	began  time.Time

	mu   sync.Mutex
	line string // guarded by mu
}

func (p *progress) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, _, counted := packages(p.line); counted && !strings.HasPrefix(line, "building istiod") {
		return // what is built beside istiod takes a moment only
	}
	p.line = line
}

// picture shows the last line, with a bar if it counts something.
func (p *progress) picture() []string {
	p.mu.Lock()
	line := p.line
	p.mu.Unlock()
	took := span(time.Since(p.began).Truncate(time.Second / 10))
	n, total, counted := packages(line)
	if !counted {
		return []string{fmt.Sprintf("%s%s  %s", indent, line, p.screen.paint(dim, took))}
	}
	return []string{fmt.Sprintf("%sbuilding istiod, once  %s %s of ~%s packages  %s",
		indent, p.screen.bar(float64(n)/float64(total), 24), count(n), count(total), p.screen.paint(dim, took))}
}

// packages reads how far a build is from a line such as
// "building istiod (...): 312 of ~1900 packages".
func packages(line string) (n, total int, counted bool) {
	_, text, _ := strings.Cut(line, ": ")
	if _, err := fmt.Sscanf(text, "%d of ~%d packages", &n, &total); err != nil || total <= 0 {
		return 0, 0, false
	}
	return min(n, total), total, true
}
