package testmesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
)

// appUID is the user of the application, proxyUID that of the sidecar.
const (
	appUID   = 1000
	proxyUID = 1337
)

// Pod is a network namespace with an application and, mostly, a sidecar.
type Pod struct {
	// immutable
	mesh    *Mesh
	of      *workload
	options podOptions
	ns      *netns.Namespace
	port    string // outer end of its cable
	hosts   string
	client  *http.Client

	mu      sync.Mutex
	app     *launch.Process // guarded by mu
	sidecar *launch.Process // guarded by mu; the last one started
}

// newPod makes a pod. If that fails, what there is of it is removed.
func (m *Mesh) newPod(ctx context.Context, w *workload, o podOptions, number int) (*Pod, error) {
	m.config.say("pod %s.%s (%s)", w.Name, w.Namespace, w.Address)
	ns, err := netns.Create(m.run + "-" + w.Name + "." + w.Namespace)
	if err != nil {
		return nil, err
	}
	p := &Pod{mesh: m, of: w, options: o, ns: ns, port: fmt.Sprintf("veth%d", number)}
	p.client = p.newClient()
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.KillSidecar(), p.killApp(), p.close())
	}
	return p, nil
}

func (p *Pod) start(ctx context.Context) error {
	if err := p.connect(); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := p.writeFiles(); err != nil {
		return fmt.Errorf("write files: %w", err)
	}
	if !p.options.plain {
		if err := p.capture(ctx); err != nil {
			return err
		}
		if !p.options.unstarted {
			if err := p.StartSidecar(); err != nil {
				return err
			}
		}
	}
	if err := p.startApp(ctx); err != nil {
		return err
	}
	if p.options.plain || p.options.unstarted || p.options.unready {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	return p.Ready(ctx)
}

// connect plugs the pod into the bridge and gives it addresses and routes.
func (p *Pod) connect() error {
	prefixes, gateways := p.prefixes()
	return errors.Join(
		p.ns.LoopbackUp(),
		p.ns.Sysctl("ipv4/ip_unprivileged_port_start", "0"), // as container runtimes do
		p.mesh.control.ns.AddPort(bridge, p.port, p.ns),
		p.ns.Configure(prefixes, gateways),
	)
}

func (p *Pod) prefixes() (prefixes []netip.Prefix, gateways []netip.Addr) {
	for _, a := range p.Addresses() {
		if a.Is4() {
			prefixes, gateways = append(prefixes, netip.PrefixFrom(a, bits4)), append(gateways, gateway4)
		} else {
			prefixes, gateways = append(prefixes, netip.PrefixFrom(a, bits6)), append(gateways, gateway6)
		}
	}
	return prefixes, gateways
}

// startApp starts the application and waits until it listens.
func (p *Pod) startApp(ctx context.Context) error {
	ports := slices.Concat(p.mesh.folder.topology().ports(p.of), p.options.ports)
	seen := map[int]bool{}
	slices.Reverse(ports) // the options' come first
	ports = slices.DeleteFunc(ports, func(e echo.Port) bool {
		again := seen[e.Number]
		seen[e.Number] = true
		return again
	})
	config, err := json.Marshal(echo.Config{Pod: p.of.Name, Version: p.of.Labels["version"], Ports: ports})
	if err != nil {
		return err
	}
	const helper = "/meshpod"
	app, err := startLogged(p.mesh.starter, &launch.Spec{
		NetNS: p.ns.Path(), Root: p.path("root"), UID: appUID, GID: appUID,
		Mounts: append(p.nameFiles(), launch.Mount{Source: p.mesh.programs.helper, Target: helper, ReadOnly: true}),
		Argv:   []string{helper, "echo", string(config)},
	}, p.log("app"))
	if err != nil {
		return fmt.Errorf("start application: %w", err)
	}
	p.mu.Lock()
	p.app = app
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = poll(ctx, app, func() error {
		text, err := os.ReadFile(p.log("app"))
		if err == nil && !bytes.Contains(text, []byte(echo.Listening)) {
			err = errors.New("not listening yet")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("start application: %w\n%s", err, tail(p.log("app")))
	}
	return nil
}

// close removes the namespace; the processes are gone already.
func (p *Pod) close() error {
	p.client.CloseIdleConnections()
	return errors.Join(p.ns.Close(), netns.Remove(p.ns.Name()), removeNamespaceFiles(p.ns.Name()))
}

func (p *Pod) killApp() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.app == nil {
		return nil
	}
	return p.app.Kill()
}

// Name returns the pod's name.
func (p *Pod) Name() string { return p.of.Name }

// Namespace returns the pod's Kubernetes namespace.
func (p *Pod) Namespace() string { return p.of.Namespace }

// NetNS returns the pod's network namespace.
func (p *Pod) NetNS() *netns.Namespace { return p.ns }

// Addr returns the pod's main address.
func (p *Pod) Addr() netip.Addr { return p.of.Address }

// Addresses returns all addresses of the pod.
func (p *Pod) Addresses() []netip.Addr {
	addrs := []netip.Addr{p.of.Address}
	if p.options.ipv6 && p.of.Address.Is4() {
		addrs = append(addrs, embed(p.of.Address))
	}
	return addrs
}

// Identity returns the SPIFFE id that istiod gives the pod.
func (p *Pod) Identity() string {
	return "spiffe://cluster.local/ns/" + p.of.Namespace + "/sa/" + p.of.ServiceAccount
}

// StopApp kills the application, as a crash would.
func (p *Pod) StopApp() error { return p.killApp() }

// StartApp starts the application again after StopApp.
func (p *Pod) StartApp(ctx context.Context) error {
	if err := os.Truncate(p.log("app"), 0); err != nil {
		return err
	}
	return p.startApp(ctx)
}

func (p *Pod) path(parts ...string) string {
	return filepath.Join(append([]string{p.mesh.work, "pods", p.of.Name + "." + p.of.Namespace}, parts...)...)
}

func (p *Pod) log(program string) string {
	return p.mesh.LogFile(p.of.Name + "." + p.of.Namespace + "-" + program)
}
