package upstream

import "sync/atomic"

// Stats are a cluster's counters and gauges, named as Envoy's cluster.* statistics.
// The data path writes them; anybody may read them.
type Stats struct {
	CxTotal          atomic.Uint64
	CxActive         atomic.Int64
	CxConnectFail    atomic.Uint64
	CxConnectTimeout atomic.Uint64
	CxOverflow       atomic.Uint64
	CxDestroy        atomic.Uint64
	CxIdleTimeout    atomic.Uint64
	CxMaxRequests    atomic.Uint64
	CxMaxDuration    atomic.Uint64
	Stale            StaleStats
	Requests         RequestStats

	// Panics counts picks from a priority in panic.
	Panics atomic.Uint64
	// Bugs counts panics of what many flows wait for, which were survived.
	Bugs atomic.Uint64
	// Fills counts how often the cluster asked to be filled.
	Fills atomic.Uint64
}

// StaleStats count how requests were kept from failing since the upstream had closed
// their pooled connection.
type StaleStats struct {
	// Found counts connections that were found closed when they were to be used again.
	Found atomic.Uint64
	// Retired counts connections that were closed before the upstream would have done
	// so.
	Retired atomic.Uint64
	// Repeated counts requests that failed on a connection and then succeeded without
	// a retry policy. Their callers count them.
	Repeated atomic.Uint64
}

// RequestStats are the part of Stats that counts requests. The callers of a cluster
// count time-outs and retries, since only they know of them.
type RequestStats struct {
	Total           atomic.Uint64
	Active          atomic.Int64
	PendingTotal    atomic.Uint64
	PendingActive   atomic.Int64
	PendingOverflow atomic.Uint64
	ActiveOverflow  atomic.Uint64
	Timeout         atomic.Uint64
	PerTryTimeout   atomic.Uint64
	Retry           atomic.Uint64
	RetrySuccess    atomic.Uint64
	RetryOverflow   atomic.Uint64
	RetryLimit      atomic.Uint64
}

// Each calls f with every value by its name behind "cluster.<name>.", in a fixed
// order. Gauge tells values that may fall.
func (s *Stats) Each(f func(name string, value uint64, gauge bool)) {
	counter := func(name string, v *atomic.Uint64) { f(name, v.Load(), false) }
	gauge := func(name string, v *atomic.Int64) {
		f(name, uint64(max(v.Load(), 0)), true) //nolint:gosec // not negative
	}
	counter("upstream_cx_total", &s.CxTotal)
	gauge("upstream_cx_active", &s.CxActive)
	counter("upstream_cx_connect_fail", &s.CxConnectFail)
	counter("upstream_cx_connect_timeout", &s.CxConnectTimeout)
	counter("upstream_cx_overflow", &s.CxOverflow)
	counter("upstream_cx_destroy", &s.CxDestroy)
	counter("upstream_cx_idle_timeout", &s.CxIdleTimeout)
	counter("upstream_cx_max_requests", &s.CxMaxRequests)
	counter("upstream_cx_max_duration_reached", &s.CxMaxDuration)
	counter("upstream_cx_dead", &s.Stale.Found)
	r := &s.Requests
	counter("upstream_rq_total", &r.Total)
	gauge("upstream_rq_active", &r.Active)
	counter("upstream_rq_pending_total", &r.PendingTotal)
	gauge("upstream_rq_pending_active", &r.PendingActive)
	counter("upstream_rq_pending_overflow", &r.PendingOverflow)
	counter("upstream_rq_active_overflow", &r.ActiveOverflow)
	counter("upstream_rq_timeout", &r.Timeout)
	counter("upstream_rq_per_try_timeout", &r.PerTryTimeout)
	counter("upstream_rq_retry", &r.Retry)
	counter("upstream_rq_retry_success", &r.RetrySuccess)
	counter("upstream_rq_retry_overflow", &r.RetryOverflow)
	counter("upstream_rq_retry_limit_exceeded", &r.RetryLimit)
	counter("lb_healthy_panic", &s.Panics)
	counter("outrigger_bugs", &s.Bugs)
}

// EachStat is Stats.Each with what is worked out at the moment of asking: the
// members by health, and which circuit breakers are open.
func (c *Cluster) EachStat(f func(name string, value uint64, gauge bool)) {
	c.stats.Each(f)
	total, healthy, degraded := c.set.Load().Standing()
	visitors := len(c.onDemand.list())
	f("membership_total", uint64(total+visitors), true)     //nolint:gosec // a count
	f("membership_healthy", uint64(healthy+visitors), true) //nolint:gosec // a count
	f("membership_degraded", uint64(degraded), true)        //nolint:gosec // a count
	if d := c.detector.Load(); d != nil {
		d.Each(func(name string, value uint64, gauge bool) { f("outlier_detection."+name, value, gauge) })
	}
	c.eachBreaker(f)
}
