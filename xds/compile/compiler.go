package compile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
	"github.com/outrigger-mesh/outrigger/resolve"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// Options are what a compiler is made of.
type Options struct {
	Store     *xds.Store
	Checker   *wire.Checker
	Secrets   *mtls.Secrets
	Listeners *proxy.Listeners
	// Cluster is given to each cluster; its Fill is set by the compiler.
	Cluster upstream.Options
	Outputs *accesslog.Outputs
	// Resolver finds the endpoints of DNS clusters; nil is the system's. The compiler
	// closes it.
	Resolver *resolve.Resolver
	// HTTPFlows and TCPFlows make the observers of every flow of an HTTP manager or
	// a TCP proxy; nil means none.
	HTTPFlows func(statPrefix string, d flow.Direction) flow.Observer
	TCPFlows  func(statPrefix string) flow.Observer
	// Address is this proxy's own, for those who are told where a request came from.
	Address netip.Addr
	// Locality is where this proxy runs, as region/zone/sub-zone.
	Locality string
	// ChainDrain is how long connections on removed chains may go on.
	ChainDrain time.Duration
	Logger     *slog.Logger
}

// Compiler is the single writer of all configuration. Everything that it writes is
// written under its lock.
type Compiler struct {
	// immutable
	store      *xds.Store
	secrets    *mtls.Secrets
	sockets    *proxy.Listeners
	clusterOpt upstream.Options
	resolver   *resolve.Resolver
	outputs    *accesslog.Outputs
	httpFlows  func(string, flow.Direction) flow.Observer
	tcpFlows   func(string) flow.Observer
	chainDrain time.Duration
	mirrors    *proxy.Mirrors
	locality   string
	log        *slog.Logger

	fails    atomic.Uint64
	unusable ignoredNames
	policies countsBy[PolicyPrefix, filter.Counts]
	managers countsBy[string, proxy.HTTPStats]
	faults   countsBy[string, filter.FaultCounts]
	pages    countsBy[string, filter.CORSCounts]
	limits   countsBy[string, filter.RateLimitCounts]

	mu sync.Mutex
	// guarded by mu
	walker    *wire.Walker
	clusters  clusterBook
	listeners map[string]*listenerEntry
	pushes    uint64 // of listeners
	births    uint64 // of listeners
	tables    map[string]*routeTable
	// extensions are the live filters whose configuration comes by ECDS.
	extensions map[extensionUse]*extension
	arrived    chan struct{} // closed and replaced when resources arrive
}

// New makes a compiler that knows nothing yet.
func New(o Options) *Compiler {
	c := &Compiler{
		store: o.Store, secrets: o.Secrets, sockets: o.Listeners, clusterOpt: o.Cluster, resolver: o.Resolver, outputs: o.Outputs,
		httpFlows: o.HTTPFlows, tcpFlows: o.TCPFlows, chainDrain: o.ChainDrain, locality: o.Locality, log: o.Logger,
		mirrors:   proxy.NewMirrors(o.Address, o.Logger),
		walker:    wire.NewWalker(o.Checker),
		clusters:  newClusterBook(),
		listeners: make(map[string]*listenerEntry),
		tables:    make(map[string]*routeTable),

		extensions: make(map[extensionUse]*extension),
		arrived:    make(chan struct{}),
	}
	c.clusterOpt.Fill = c.fillCluster
	if c.resolver == nil {
		c.resolver = resolve.New(resolve.Options{})
	}
	return c
}

// Failures counts resources that were accepted and could not be compiled when
// they were first used.
func (c *Compiler) Failures() uint64 { return c.fails.Load() }

// failed reports a resource that could not be compiled at its first use.
func (c *Compiler) failed(kind, name string, err error) error {
	c.fails.Add(1)
	c.log.Error("resource cannot be used", "type", kind, "name", name, "error", err)
	return fmt.Errorf("%s %q: %w", kind, name, err)
}

// ignoredNames remembers what was left out, so that each is named once.
type ignoredNames struct {
	mu    sync.Mutex
	count map[string]uint64
}

// ignored counts a part of the configuration that has no effect, and names it the
// first time.
func (c *Compiler) ignored(what string) {
	c.unusable.mu.Lock()
	defer c.unusable.mu.Unlock()
	if c.unusable.count == nil {
		c.unusable.count = make(map[string]uint64)
	}
	c.unusable.count[what]++
	if c.unusable.count[what] == 1 {
		c.log.Warn("configuration has no effect", "what", what)
	}
}

// Ignored lists what was left out and how often.
func (c *Compiler) Ignored() map[string]uint64 {
	c.unusable.mu.Lock()
	defer c.unusable.mu.Unlock()
	return maps.Clone(c.unusable.count)
}

// errNotYet says that a resource is on its way.
var errNotYet = errors.New("has not arrived yet")

// await runs build under the lock until it gives a final answer, again each time
// that resources arrive, until ctx ends.
func (c *Compiler) await(ctx context.Context, build func() error) error {
	for {
		c.mu.Lock()
		err := build()
		arrived := c.arrived
		c.mu.Unlock()
		if !errors.Is(err, errNotYet) {
			return err
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return err
		}
	}
}

// arrive wakes everybody who waits for a resource. The lock is held.
func (c *Compiler) arrive() {
	close(c.arrived)
	c.arrived = make(chan struct{})
}

// Close ends every cluster, and the copies of requests that are still on their way; the
// listeners have been closed before.
func (c *Compiler) Close(ctx context.Context) {
	c.mirrors.Close()
	c.mu.Lock()
	live := c.clusters.live()
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, cluster := range live {
		wg.Go(func() { cluster.Close(ctx) })
	}
	wg.Wait()
	c.resolver.Close()
}

// Clusters lists the clusters that are in use.
func (c *Compiler) Clusters() []*upstream.Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clusters.live()
}

// RefusedSockets says of each listener that should have a socket, and whose only
// configuration was refused, why.
func (c *Compiler) RefusedSockets() map[string]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]error)
	for name, e := range c.listeners {
		if e.bind && e.refusing != nil {
			out[name] = e.refusing
		}
	}
	return out
}

// Listeners lists the listeners of the configuration.
func (c *Compiler) Listeners() []*proxy.Listener {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*proxy.Listener
	for _, e := range c.listeners {
		out = append(out, e.live)
	}
	return out
}
