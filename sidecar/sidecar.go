package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/config"
	"github.com/outrigger-mesh/outrigger/dnat"
	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/ca"
	"github.com/outrigger-mesh/outrigger/probes"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
	"github.com/outrigger-mesh/outrigger/telemetry/metrics"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/compile"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// Options are what a sidecar needs beside its configuration.
type Options struct {
	Version string
	// Log is where the process's own log goes.
	Log io.Writer
}

// Sidecar is a running sidecar: all parts, in one place.
type Sidecar struct {
	// immutable
	cfg     *config.Config
	opts    Options
	log     *slog.Logger
	level   *slog.LevelVar
	started time.Time
	node    []byte // JSON

	secrets   *mtls.Secrets
	source    *mtls.Source
	client    *xds.Client
	compiler  *compile.Compiler
	listeners *proxy.Listeners
	reaper    *upstream.Reaper
	outputs   *accesslog.Outputs
	stats     *metrics.Registry
	ready     *probes.Readiness

	quit     context.CancelFunc
	draining atomic.Bool
}

// Run runs a sidecar until ctx ends, drains it, and returns when every goroutine
// has ended.
func Run(ctx context.Context, cfg *config.Config, o Options) error {
	if cfg.Concurrency > 0 {
		runtime.GOMAXPROCS(cfg.Concurrency)
	}
	debug.SetGCPercent(gcPercentStarting)
	s := &Sidecar{cfg: cfg, opts: o, started: time.Now(), level: new(slog.LevelVar), stats: new(metrics.Registry)}
	s.log = logger(o.Log, cfg.Log, s.level)
	for _, w := range cfg.Warnings {
		s.log.Warn("setting has no effect", "what", w)
	}
	if err := s.build(); err != nil {
		return err
	}
	stop, err := profile(cfg.CPUProfile)
	if err != nil {
		return err
	}
	return errors.Join(s.run(ctx), stop())
}

func logger(w io.Writer, cfg config.Log, level *slog.LevelVar) *slog.Logger {
	level.Set(slog.Level(cfg.LevelNumber()))
	o := &slog.HandlerOptions{Level: level}
	if cfg.JSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// room gives a part its own log.
func (s *Sidecar) room(name string) *slog.Logger { return s.log.With("component", name) }

// build makes every part; nothing runs yet.
func (s *Sidecar) build() error {
	s.secrets = mtls.NewSecrets(s.room("secrets"))
	if err := s.buildSource(); err != nil {
		return err
	}
	s.outputs = accesslog.NewOutputs(accesslog.OutputsConfig{Logger: s.room("accesslog")})
	s.listeners = proxy.NewListeners(proxy.Options{
		Logger: s.room("proxy"), OriginalDst: dnat.OriginalDst, DualStack: s.cfg.Node.IPv6(),
	})
	s.reaper = upstream.NewReaper()
	if err := s.buildConfiguration(); err != nil {
		return err
	}
	s.ready = probes.NewReadiness(s.conditions()...)
	s.count()
	return nil
}

func (s *Sidecar) buildSource() error {
	cfg := &s.cfg.CA
	client, err := ca.New(ca.Spec{
		Address: cfg.Address, ServerName: cfg.ServerName, RootFile: rootFile(cfg.RootFile), PlainText: cfg.Plaintext,
		TokenFile: cfg.TokenFile, ClusterID: cfg.Headers["clusterid"], Headers: without(cfg.Headers, "clusterid"),
	})
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	n := &s.cfg.Node
	s.source, err = mtls.NewSource(mtls.SourceSpec{
		Workload: mtls.Workload{TrustDomain: n.TrustDomain, Namespace: n.Namespace, ServiceAccount: n.ServiceAccount},
		Sign:     client.Sign, Secrets: s.secrets, RootFile: rootFile(cfg.RootFile),
		Lifetime: cfg.TTL, GraceRatio: cfg.GraceRatio, Log: s.room("ca"),
	})
	if err != nil {
		return fmt.Errorf("workload certificate: %w", err)
	}
	return nil
}

// buildConfiguration makes the xDS client and the compiler that follows it.
func (s *Sidecar) buildConfiguration() error {
	nodeBytes, nodeJSON, err := encodings(&s.cfg.Node)
	if err != nil {
		return err
	}
	s.node = nodeJSON
	follower := new(follower)
	connect := xds.Connect{TokenFile: s.cfg.Discovery.TokenFile, Headers: s.cfg.Discovery.Headers}
	if !s.cfg.Discovery.Plaintext {
		connect.TLS = s.discoveryTLS
	}
	s.client, err = xds.New(xds.Config{
		Address: s.cfg.Discovery.Address, Node: nodeBytes, Rules: compile.Rules(), Handler: follower, Connect: connect, Log: s.room("xds"),
	})
	if err != nil {
		return fmt.Errorf("xds client: %w", err)
	}
	checker, err := wire.NewChecker(compile.Rules())
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	flows := metrics.NewFlows(s.stats)
	s.compiler = compile.New(compile.Options{
		Store: s.client.Store(), Checker: checker, Secrets: s.secrets, Listeners: s.listeners,
		Cluster: upstream.Options{Reaper: s.reaper, Logger: s.room("upstream")},
		Outputs: s.outputs, HTTPFlows: httpFlows(flows), TCPFlows: tcpFlows(flows),
		Address: s.cfg.Node.Addresses[0], Locality: localityOf(&s.cfg.Node), ChainDrain: s.cfg.Drain.Chain, Logger: s.room("compile"),
	})
	follower.compiler = s.compiler
	return nil
}

// follower hands what the client received to the compiler.
type follower struct{ compiler *compile.Compiler }

func (f *follower) Apply(ch xds.Change) error { return f.compiler.Apply(ch) }

func (f *follower) Check(typeURL, name string, body []byte) error {
	return f.compiler.Check(typeURL, name, body)
}

func (f *follower) Refused(typeURL, name string, body []byte, why error) {
	f.compiler.Refused(typeURL, name, body, why)
}

// run starts the parts, waits for the end and drains.
func (s *Sidecar) run(ctx context.Context) error {
	ctx, s.quit = context.WithCancel(ctx)
	defer s.quit()
	servers, err := s.ports(ctx)
	if err != nil {
		return err
	}
	// Parts outlive ctx: connections drain while certificates and configuration
	// are still kept fresh.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var wg sync.WaitGroup
	start := func(name string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(life); err != nil && life.Err() == nil {
				s.log.Error("part ended early", "part", name, "error", err)
				s.quit()
			}
		})
	}
	for _, srv := range servers {
		start("port", srv.Run)
	}
	start("secrets", s.secrets.Run)
	start("certificates", s.source.Run)
	start("accesslog", s.outputs.Run)
	start("xds", s.client.Run)
	start("memory", s.settle)
	s.log.Info("sidecar started", "version", s.opts.Version, "node", s.cfg.Node.ID(), "discovery", s.cfg.Discovery.Address)
	<-ctx.Done()
	s.drain()
	end()
	wg.Wait()
	return errors.Join(s.reaper.Close(), s.client.Store().Close())
}

// ports binds the local ports.
func (s *Sidecar) ports(ctx context.Context) ([]*probes.Server, error) {
	var servers []*probes.Server
	for _, p := range []probes.ServerConfig{
		{Name: "admin", Addrs: loopback(s.cfg.Ports.Admin), Handler: s.admin(), Hint: "set proxyAdminPort in the proxy configuration"},
		{Name: "health", Addrs: everywhere(s.cfg.Ports.Health), Handler: probes.ReadyHandler(s.ready), Hint: "set ENVOY_STATUS_PORT"},
		{Name: "metrics", Addrs: everywhere(s.cfg.Ports.Prometheus), Handler: probes.StatsHandler(s.stats.Prometheus()), Hint: "set ENVOY_PROMETHEUS_PORT"},
	} {
		p.Logger = s.room(p.Name)
		srv, err := probes.Listen(ctx, p)
		if err != nil {
			for _, open := range servers {
				open.Close()
			}
			return nil, err
		}
		servers = append(servers, srv)
	}
	return servers, nil
}

func loopback(port int) []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))} //nolint:gosec // checked by config
}

func everywhere(port int) []netip.AddrPort {
	return probes.AllAddrs(uint16(port)) //nolint:gosec // checked by config
}

func without(m map[string]string, key string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// rootFile translates pilot-agent's word for the system's roots.
func rootFile(name string) string {
	if name == "SYSTEM" {
		return ""
	}
	return name
}
