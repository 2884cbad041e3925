package sidecar

import (
	"strings"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
	"github.com/outrigger-mesh/outrigger/telemetry/metrics"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds/compile"
)

// count lends the registry what every part counts.
func (s *Sidecar) count() {
	s.stats.Add(metrics.Server{Start: s.started, State: s.serverState, Certificates: s.expiries}.Emit)
	s.stats.Add(s.countConfiguration)
	s.stats.Add(s.countClusters)
	s.stats.Add(s.countListeners)
	s.stats.Add(s.countManagers)
	s.stats.Add(s.countPolicies)
	s.stats.Add(s.countFilters)
}

// serverState is Envoy's number of the server's state.
func (s *Sidecar) serverState() int {
	switch {
	case s.draining.Load():
		return 1
	case len(s.ready.Missing()) > 0:
		return 3
	default:
		return 0
	}
}

func (s *Sidecar) expiries() []metrics.Certificate {
	var out []metrics.Certificate
	for _, secret := range s.secrets.All() {
		if m := secret.Load(); m != nil {
			out = append(out, metrics.Certificate{Name: secret.Name(), NotAfter: m.NotAfter})
		}
	}
	return out
}

// countConfiguration emits what the xDS client and the compiler count, under
// Envoy's names where Envoy has one.
func (s *Sidecar) countConfiguration(emit metrics.Emit) {
	for name, v := range s.client.Counters() {
		switch kind, what, _ := strings.Cut(name, "."); kind {
		case "cds":
			name = "cluster_manager.cds." + what
		case "lds":
			name = "listener_manager.lds." + what
		default:
			name = "control_plane." + strings.ReplaceAll(name, ".", "_")
		}
		emit(name, nil, float64(v), metrics.Counter)
	}
	connected := 0.0
	if s.client.Status().Connected {
		connected = 1
	}
	emit("control_plane.connected_state", nil, connected, metrics.Gauge)
	use := s.client.Store().Usage()
	emit("outrigger.xds.store_bytes", nil, float64(use.Packed), metrics.Gauge)
	emit("outrigger.compile.failures", nil, float64(s.compiler.Failures()), metrics.Counter)
	for what, n := range s.compiler.Ignored() {
		emit("outrigger.compile.ignored", []metrics.Label{{Name: "what", Value: what}}, float64(n), metrics.Counter)
	}
	logs := s.outputs.Counts()
	emit("access_log_file.write_total", nil, float64(logs.Written), metrics.Counter)
	emit("access_log_file.dropped", nil, float64(logs.Dropped), metrics.Counter)
	emit("outrigger.panics", nil, float64(s.listeners.Panics.Load()), metrics.Counter)
}

func (s *Sidecar) countClusters(emit metrics.Emit) {
	for _, c := range s.compiler.Clusters() {
		label := []metrics.Label{{Name: metrics.ClusterName, Value: c.Name()}}
		c.EachStat(func(name string, value uint64, gauge bool) {
			kind := metrics.Counter
			if gauge {
				kind = metrics.Gauge
			}
			emit("cluster."+name, label, float64(value), kind)
		})
		countStale(emit, c)
	}
}

// countStale emits how requests were kept from meeting a connection that the upstream
// had closed, where there were any.
func countStale(emit metrics.Emit, c *upstream.Cluster) {
	st := &c.Stats().Stale
	for _, by := range [...]struct {
		name  string
		count uint64
	}{{"found_closed", st.Found.Load()}, {"retired_early", st.Retired.Load()}, {"repeated", st.Repeated.Load()}} {
		if by.count > 0 {
			labels := []metrics.Label{{Name: metrics.ClusterName, Value: c.Name()}, {Name: "by", Value: by.name}}
			emit("outrigger_upstream_stale_avoided_total", labels, float64(by.count), metrics.Counter)
		}
	}
}

func (s *Sidecar) countListeners(emit metrics.Emit) {
	for _, l := range s.compiler.Listeners() {
		st := &l.Stats
		label := []metrics.Label{{Name: metrics.ListenerAddr, Value: l.Name()}}
		emit("listener.downstream_cx_total", label, float64(st.Total.Load()), metrics.Counter)
		emit("listener.downstream_cx_active", label, float64(st.Active.Load()), metrics.Gauge)
		emit("listener.no_filter_chain_match", label, float64(st.NoChain.Load()), metrics.Counter)
		emit("listener.downstream_pre_cx_timeout", label, float64(st.SniffTimeout.Load()), metrics.Counter)
		emit("listener.downstream_cx_refused", label, float64(st.Refused.Load()), metrics.Counter)
		emit("listener.ssl.connection_error", label, float64(st.HandshakeFail.Load()), metrics.Counter)
		emit("listener.outrigger.upstream_dialled_ahead", label, float64(st.Ahead.Load()), metrics.Counter)
		emit("listener.outrigger.upstream_dialled_ahead_failed", label, float64(st.AheadFail.Load()), metrics.Counter)
		emit("listener.outrigger.server_first", label, float64(st.ServerFirst.Load()), metrics.Counter)
	}
}

// countManagers emits what HTTP managers count of their connections.
func (s *Sidecar) countManagers(emit metrics.Emit) {
	s.compiler.EachManagerCount(func(prefix string, n *proxy.HTTPStats) {
		label := []metrics.Label{{Name: metrics.HTTPPrefix, Value: prefix}}
		emit("http.downstream_cx_active", label, float64(n.Connections.Load()), metrics.Gauge)
		emit("http.downstream_rq_active", label, float64(n.Active.Load()), metrics.Gauge)
		emit("http.downstream_cx_http1_total", label, float64(n.HTTP1.Load()), metrics.Counter)
		emit("http.downstream_cx_http2_total", label, float64(n.HTTP2.Load()), metrics.Counter)
		emit("http.downstream_cx_max_requests_reached", label, float64(n.MaxRequests.Load()), metrics.Counter)
		emit("http.downstream_cx_max_duration_reached", label, float64(n.MaxAge.Load()), metrics.Counter)
	})
}

// countFilters emits what filters of HTTP managers count.
func (s *Sidecar) countFilters(emit metrics.Emit) {
	emit("outrigger.mirrors_dropped", nil, float64(s.compiler.MirrorsDropped()), metrics.Counter)
	s.compiler.EachFaultCount(func(prefix string, n *filter.FaultCounts) {
		label := []metrics.Label{{Name: metrics.HTTPPrefix, Value: prefix}}
		emit("http.fault.aborts_injected", label, float64(n.Aborts.Load()), metrics.Counter)
		emit("http.fault.delays_injected", label, float64(n.Delays.Load()), metrics.Counter)
		emit("http.fault.faults_overflow", label, float64(n.Overflow.Load()), metrics.Counter)
		emit("http.fault.active_faults", label, float64(n.Active.Load()), metrics.Gauge)
	})
	s.compiler.EachLimitCount(func(prefix string, n *filter.RateLimitCounts) {
		label := []metrics.Label{{Name: "envoy_local_http_ratelimit_prefix", Value: prefix}}
		emit("http_local_rate_limit.enabled", label, float64(n.Enabled.Load()), metrics.Counter)
		emit("http_local_rate_limit.ok", label, float64(n.OK.Load()), metrics.Counter)
		emit("http_local_rate_limit.rate_limited", label, float64(n.Limited.Load()), metrics.Counter)
		emit("http_local_rate_limit.enforced", label, float64(n.Enforced.Load()), metrics.Counter)
	})
	s.compiler.EachPageCount(func(prefix string, n *filter.CORSCounts) {
		label := []metrics.Label{{Name: metrics.HTTPPrefix, Value: prefix}}
		emit("http.cors.origin_valid", label, float64(n.Valid.Load()), metrics.Counter)
		emit("http.cors.origin_invalid", label, float64(n.Invalid.Load()), metrics.Counter)
	})
}

// countPolicies counts what RBAC filters decided. Several filters of one manager
// share a name as in Envoy.
func (s *Sidecar) countPolicies(emit metrics.Emit) {
	type series struct{ name, label, value string }
	sums := make(map[series]uint64)
	s.compiler.EachPolicyCount(func(p compile.PolicyPrefix, n *filter.Counts) {
		kind, label, value := "tcp.rbac.", metrics.TCPPrefix, strings.TrimSuffix(p.Flow, ".")
		if p.HTTP {
			kind, label, value = "http.rbac.", metrics.HTTPPrefix, p.Flow
		}
		sums[series{kind + p.Rules + "allowed", label, value}] += n.Allowed.Load()
		sums[series{kind + p.Rules + "denied", label, value}] += n.Denied.Load()
		sums[series{kind + p.Shadow + "shadow_allowed", label, value}] += n.ShadowAllowed.Load()
		sums[series{kind + p.Shadow + "shadow_denied", label, value}] += n.ShadowDenied.Load()
	})
	for at, n := range sums {
		emit(at.name, []metrics.Label{{Name: at.label, Value: at.value}}, float64(n), metrics.Counter)
	}
}

// httpFlows and tcpFlows hide which observer counts.
func httpFlows(f *metrics.Flows) func(string, flow.Direction) flow.Observer {
	return func(prefix string, d flow.Direction) flow.Observer { return f.HTTP(prefix, d) }
}

func tcpFlows(f *metrics.Flows) func(string) flow.Observer {
	return func(prefix string) flow.Observer { return f.TCP(prefix) }
}
