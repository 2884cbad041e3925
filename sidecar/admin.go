package sidecar

import (
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"runtime"
	"strings"

	"github.com/outrigger-mesh/outrigger/admin"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
)

// admin lends the admin port what it shows and does.
func (s *Sidecar) admin() http.Handler {
	return admin.New(admin.Config{
		Logger: s.room("admin"),
		Server: admin.Server{
			Version: "outrigger/" + s.opts.Version + "/Clean/RELEASE/" + runtime.Version(),
			Start:   s.started, State: s.state, Node: s.node,
		},
		Dump: admin.Dump{
			Bootstrap: s.bootstrap,
			Clusters:  s.resources(xds.TypeCluster), Endpoints: s.resources(xds.TypeEndpoint),
			Listeners: s.resources(xds.TypeListener), Routes: s.resources(xds.TypeRoute),
			Extensions: s.resources(xds.TypeExtension), Secrets: s.shownSecrets(),
		},
		Hooks: admin.Hooks{
			Quit: s.quit, Levels: s.levels, SetLevel: s.setLevel, FailHealth: s.ready.Fail,
			DrainListeners: func(_, _ bool) { s.listeners.DrainInbound() },
		},
		Clusters: s.shownClusters(), Listeners: s.shownListeners(), Certificates: s.certificates(),
		Stats: s.stats.Stats(), Prometheus: s.stats.Prometheus(),
	})
}

func (s *Sidecar) state() admin.State {
	switch {
	case s.draining.Load():
		return admin.Draining
	case len(s.ready.Missing()) > 0:
		return admin.Initializing
	default:
		return admin.Live
	}
}

func (s *Sidecar) bootstrap() json.RawMessage {
	return fmt.Appendf(nil, `{"node":%s}`, s.node)
}

// resources shows a type's resources with the bytes that arrived.
func (s *Sidecar) resources(typeURL string) iter.Seq[admin.Resource] {
	store := s.client.Store()
	return func(yield func(admin.Resource) bool) {
		version := store.Version(typeURL)
		for name := range store.Names(typeURL) {
			r := admin.Resource{Name: name, Version: version, TypeURL: typeURL, Updated: s.started, Raw: func() []byte {
				b, _ := store.Raw(typeURL, name)
				return b
			}}
			if !yield(r) {
				return
			}
		}
	}
}

func (s *Sidecar) shownSecrets() iter.Seq[admin.Secret] {
	return func(yield func(admin.Secret) bool) {
		for _, secret := range s.secrets.All() {
			shown := admin.Secret{Name: secret.Name(), Updated: s.started, Warming: true}
			if m := secret.Load(); m != nil {
				shown.Warming, shown.Version, shown.Updated = false, m.Fingerprint, m.NotBefore
				if m.Trust() {
					shown.Roots = m.PEM
				} else {
					shown.Chain = m.PEM
				}
			}
			if !yield(shown) {
				return
			}
		}
	}
}

func (s *Sidecar) certificates() iter.Seq[admin.Certificate] {
	return func(yield func(admin.Certificate) bool) {
		for _, secret := range s.secrets.All() {
			m := secret.Load()
			if m == nil {
				continue
			}
			for _, c := range m.Certificates() {
				shown := admin.Certificate{
					Authority: m.Trust(), Path: secret.Name(), Serial: c.SerialNumber.Text(16), From: c.NotBefore, To: c.NotAfter,
				}
				for _, u := range c.URIs {
					shown.URIs = append(shown.URIs, u.String())
				}
				if !yield(shown) {
					return
				}
			}
		}
	}
}

func (s *Sidecar) shownClusters() iter.Seq[admin.Cluster] {
	return func(yield func(admin.Cluster) bool) {
		for _, c := range s.compiler.Clusters() {
			if !yield(admin.Cluster{Name: c.Name(), Endpoints: shownEndpoints(c)}) {
				return
			}
		}
	}
}

func shownEndpoints(c *upstream.Cluster) iter.Seq[admin.Endpoint] {
	return func(yield func(admin.Endpoint) bool) {
		for _, e := range c.Endpoints().Endpoints() {
			spec := e.Spec()
			parts := append(strings.SplitN(spec.Locality, "/", 3), "", "", "")
			shown := admin.Endpoint{
				Address: e.Addr(), Ejected: e.Ejected(), Hostname: spec.Hostname, Weight: max(spec.Weight, 1), Priority: spec.Priority,
				Locality: admin.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]},
				Stats:    []admin.Stat{{Name: "rq_active", Value: uint64(max(e.Active(), 0)), Gauge: true}}, //nolint:gosec // not negative
			}
			if spec.Health != lb.Unknown {
				shown.Health = strings.ToUpper(spec.Health.String())
			}
			if !yield(shown) {
				return
			}
		}
	}
}

func (s *Sidecar) shownListeners() iter.Seq[admin.Listener] {
	return func(yield func(admin.Listener) bool) {
		for _, l := range s.compiler.Listeners() {
			shown := admin.Listener{Name: l.Name()}
			if spec := l.Spec(); spec != nil {
				shown.Address = spec.Address
			}
			if !yield(shown) {
				return
			}
		}
	}
}

func (s *Sidecar) levels() []admin.Level {
	return []admin.Level{{Component: "default", Level: strings.ToLower(s.level.Level().String())}}
}

// setLevel changes the one level that all components share.
func (s *Sidecar) setLevel(_, name string) error {
	var level slog.Level
	switch name {
	case "trace":
		name = "debug"
	case "warning":
		name = "warn"
	case "critical", "off":
		name = "error"
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return fmt.Errorf("level %q is not one of trace, debug, info, warning, error, critical, off", name)
	}
	s.level.Set(level)
	return nil
}
