package testmesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/kubestub"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

// Mesh is a running control plane and its pods.
type Mesh struct {
	// CA signs the workloads' certificates; Issuer their tokens. Immutable.
	CA     *pki.CA
	Issuer *pki.Issuer

	// immutable
	config   Config
	run      string
	work     string
	programs *programs
	starter  *launch.Starter
	folder   *folder
	control  *controlPlane
	tb       testing.TB // nil unless made by Start

	mu      sync.Mutex
	pods    map[string]*podEntry // guarded by mu; by name.namespace
	last    int                  // guarded by mu; number of the last pod, for names and addresses
	product string               // guarded by mu; folder with the product's binaries
	closed  bool                 // guarded by mu
}

// podEntry is a pod that is there or being made.
type podEntry struct {
	made chan struct{} // closed when pod and err are set
	pod  *Pod
	err  error
}

// Up brings up a mesh without pods and returns when istiod is ready.
func Up(ctx context.Context, c Config) (*Mesh, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	c.Progress = oneAtATime(c.Progress)
	if err := RemoveLeftovers(); err != nil {
		c.say("leftovers of a dead mesh remain: %v", err)
	}
	programs, err := c.findPrograms(ctx)
	if err != nil {
		return nil, err
	}
	run, err := runName()
	if err != nil {
		return nil, err
	}
	m := &Mesh{
		config: c, run: run, programs: programs, product: c.BinDir,
		work: cmp.Or(c.WorkDir, filepath.Join(os.TempDir(), run)), pods: map[string]*podEntry{},
	}
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// start makes everything that lives as long as the mesh.
func (m *Mesh) start(ctx context.Context) error {
	began := time.Now()
	if err := os.MkdirAll(filepath.Dir(m.work), 0o755); err != nil {
		return err
	}
	for _, dir := range []string{m.work, m.path("logs")} { // nobody else's folder
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	m.starter = launch.NewStarter(m.programs.helper)
	store := kubestub.NewStore()
	var err error
	if m.folder, err = newFolder(m.work, store); err != nil {
		return err
	}
	if err := m.makeKeys(); err != nil {
		return err
	}
	m.config.say("control plane: network, stub API and configuration")
	g, _ := errgroup.WithContext(ctx)
	g.Go(func() error { return m.loadConfig(store) })
	g.Go(func() (err error) {
		m.control, err = newControlPlane(ctx, m.run+"-cp", store, m.Issuer)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	m.control.starter = m.starter
	if err := m.control.prepareIstiod(m.work, m.programs.istiod, m.LogFile("istiod"), m.config.IstiodEnv); err != nil {
		return err
	}
	if err := m.control.startIstiod(ctx); err != nil {
		return err
	}
	if err := m.loaded(ctx, m.folder.everything(), 0); err != nil {
		return err
	}
	m.config.say("istiod is ready after %v", time.Since(began).Round(time.Millisecond))
	return nil
}

func (m *Mesh) makeKeys() error {
	g := errgroup.Group{}
	g.Go(func() (err error) {
		if m.CA, err = pki.NewCA("outrigger test mesh"); err != nil {
			return err
		}
		return m.CA.Write(m.path("cacerts"))
	})
	g.Go(func() (err error) {
		m.Issuer, err = pki.NewIssuer()
		return err
	})
	return g.Wait()
}

func (m *Mesh) loadConfig(store *kubestub.Store) error {
	text := cmp.Or(m.config.MeshConfig, DefaultMeshConfig)
	if err := os.WriteFile(m.path("meshconfig.yaml"), []byte(text), 0o644); err != nil {
		return err
	}
	if err := store.Put(namespaceObject("istio-system")); err != nil {
		return err
	}
	if source := m.config.source(); source != nil {
		return m.folder.load(source)
	}
	return nil
}

// Close kills all processes and removes all namespaces, and the work folder
// unless it is to be kept. It may be called again.
func (m *Mesh) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	entries := make([]*podEntry, 0, len(m.pods))
	for _, e := range m.pods {
		entries = append(entries, e)
	}
	m.mu.Unlock()

	var errs []error
	for _, e := range entries {
		<-e.made
	}
	if m.starter != nil {
		errs = append(errs, m.starter.Close()) // every process of the mesh
	}
	for _, e := range entries {
		if e.pod != nil {
			errs = append(errs, e.pod.close())
		}
	}
	if m.control != nil {
		errs = append(errs, m.control.close())
	}
	if !m.config.Keep {
		errs = append(errs, os.RemoveAll(m.work))
	}
	return errors.Join(errs...)
}

// WorkDir returns the folder with all files of the mesh.
func (m *Mesh) WorkDir() string { return m.work }

// LogFile returns the log of a program: "istiod", or a pod's full name and its
// program, such as "web-1.shop-sidecar".
func (m *Mesh) LogFile(name string) string { return m.path("logs", name+".log") }

// ControlPlane returns the control plane's network namespace.
func (m *Mesh) ControlPlane() *netns.Namespace { return m.control.ns }

// Restart stops istiod in an orderly way and starts it again.
func (m *Mesh) Restart(ctx context.Context) error {
	if err := m.Stop(); err != nil {
		return err
	}
	return m.StartIstiod(ctx)
}

// stopGrace bounds an orderly end of istiod.
const stopGrace = 20 * time.Second

// Stop ends istiod in an orderly way.
func (m *Mesh) Stop() error { return m.control.stopIstiod(stopGrace) }

// Kill ends istiod at once.
func (m *Mesh) Kill() error { return m.control.stopIstiod(0) }

// StartIstiod starts istiod after Stop or Kill and waits until it is ready.
func (m *Mesh) StartIstiod(ctx context.Context) error { return m.control.startIstiod(ctx) }

// Debug reads a path of istiod's debug port, such as /debug/syncz.
func (m *Mesh) Debug(ctx context.Context, path string) ([]byte, error) {
	return m.control.get(ctx, "http://127.0.0.1:15014"+path) // istiod trusts its own host
}

// Pods makes or returns several pods, all at the same time.
func (m *Mesh) Pods(names ...string) []*Pod {
	m.helper().Helper()
	pods, err := m.AddPods(context.Background(), names...)
	m.must(err)
	return pods
}

// AddPods is Pods for programs: it returns the error.
func (m *Mesh) AddPods(ctx context.Context, names ...string) ([]*Pod, error) {
	pods := make([]*Pod, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() (err error) {
			pods[i], err = m.AddPod(ctx, name)
			return err
		})
	}
	return pods, g.Wait()
}

// Pod returns the pod of that name (or name.namespace), made at first use.
// If it cannot be made the test fails; without a test, Pod panics: see AddPod.
func (m *Mesh) Pod(name string, opts ...PodOption) *Pod {
	m.helper().Helper()
	p, err := m.AddPod(context.Background(), name, opts...)
	m.must(err)
	return p
}

// PlainPod is Pod without sidecar and capture rules: an intruder, or a peer that
// is not in the mesh. If no WorkloadEntry has its name it gets a free address.
func (m *Mesh) PlainPod(name string, opts ...PodOption) *Pod {
	m.helper().Helper()
	return m.Pod(name, append(slices.Clone(opts), WithoutSidecar())...)
}

// AddPod returns the pod of that name, made at first use. Unless told otherwise
// it returns when application and sidecar are ready.
func (m *Mesh) AddPod(ctx context.Context, name string, opts ...PodOption) (*Pod, error) {
	o := podOptions{}
	for _, opt := range opts {
		opt(&o)
	}
	w, err := m.workload(name, &o)
	if err != nil {
		return nil, err
	}
	full := w.Name + "." + w.Namespace
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errors.New("mesh is closed")
	}
	e := m.pods[full]
	if e != nil {
		m.mu.Unlock()
		<-e.made
		return e.pod, e.err
	}
	e = &podEntry{made: make(chan struct{})}
	m.pods[full] = e
	m.last++
	number := m.last
	m.mu.Unlock()

	defer close(e.made)
	if !w.Address.IsValid() {
		w.Address = strangerAddress(number)
	}
	e.pod, e.err = m.newPod(ctx, w, o, number)
	if e.err != nil {
		e.err = fmt.Errorf("pod %s: %w", full, e.err)
	}
	return e.pod, e.err
}

// must fails the test, or panics where there is none.
func (m *Mesh) must(err error) {
	if err == nil {
		return
	}
	if m.tb == nil {
		panic(err)
	}
	m.tb.Helper()
	m.tb.Fatal(err)
}

// helper returns what marks test helpers.
func (m *Mesh) helper() interface{ Helper() } {
	if m.tb == nil {
		return noTest{}
	}
	return m.tb
}

type noTest struct{}

// Helper does nothing.
func (noTest) Helper() {}

func (m *Mesh) path(parts ...string) string {
	return filepath.Join(append([]string{m.work}, parts...)...)
}
