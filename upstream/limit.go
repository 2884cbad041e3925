package upstream

import "sync/atomic"

// Priority is a class of requests, with circuit breakers and connections of its own.
type Priority uint8

// The priorities.
const (
	DefaultPriority Priority = iota
	HighPriority
	priorities
)

// String returns the name as in Envoy's statistics.
func (p Priority) String() string {
	if p == HighPriority {
		return "high"
	}
	return "default"
}

// Limit bounds what is in use at a time. Zero is not set, so no limit; None allows
// nothing.
type Limit int64

// None allows nothing.
const None Limit = -1

// allows reports whether n may be in use.
func (l Limit) allows(n int64) bool { return l == 0 || n <= int64(l) }

// Budget limits retries by the requests that are there.
type Budget struct {
	// Percent of the requests that are active or pending may be retries, but Least may
	// be at any time.
	Percent float64
	Least   uint32
}

// Limits are the circuit breakers of one priority.
type Limits struct {
	Connections Limit
	Pending     Limit
	Requests    Limit
	Retries     Limit
	// Budget, where set, stands in for Retries.
	Budget *Budget
	// Tell has the statistics tell how much remains.
	Tell bool
}

// below reports whether fewer connections are allowed than by old: those that are
// open already would exceed the limit for as long as they are in use.
func (l *Limits) below(old *Limits) bool {
	return l.Connections != 0 && (old.Connections == 0 || l.Connections < old.Connections)
}

// limits are those of a priority.
func (s *Spec) limits(p Priority) *Limits {
	if p == HighPriority {
		return &s.HighLimits
	}
	return &s.Limits
}

// stricter reports whether fewer connections are allowed than by old.
func (s *Spec) stricter(old *Spec) bool {
	return s.Limits.below(&old.Limits) || s.HighLimits.below(&old.HighLimits)
}

// gauge counts what is in use against a limit that may change meanwhile.
type gauge struct{ n atomic.Int64 }

// take counts one more unless the limit, where there is one, is reached.
func (g *gauge) take(limit Limit) bool {
	if !limit.allows(g.n.Add(1)) {
		g.n.Add(-1)
		return false
	}
	return true
}

// force counts one more whatever the limit.
func (g *gauge) force() { g.n.Add(1) }

func (g *gauge) release() { g.n.Add(-1) }

// full is 1 when nothing more may be taken, else 0. As in Envoy, it is not where
// nothing was taken yet of a limit that allows nothing.
func (g *gauge) full(limit Limit) uint64 {
	n := g.n.Load()
	if limit.allows(n+1) || limit == None && n <= 0 {
		return 0
	}
	return 1
}

// remaining is how much more may be taken.
func (g *gauge) remaining(limit Limit) uint64 {
	return uint64(max(0, int64(limit)-max(0, g.n.Load()))) //nolint:gosec // not negative
}

// usage is what a cluster has in use of what the Limits of a priority limit.
type usage struct {
	connections, pending, requests, retries gauge
}

// retryLimit is how many retries may be in progress.
func (u *usage) retryLimit(l *Limits) Limit {
	if l.Budget == nil {
		return l.Retries
	}
	there := max(0, u.requests.n.Load()) + max(0, u.pending.n.Load())
	limit := max(int64(float64(there)*l.Budget.Percent/100), int64(l.Budget.Least))
	if limit == 0 {
		return None
	}
	return Limit(limit)
}

// AcquireRetry counts a retry in progress; false means that the circuit breaker
// for retries is open. ReleaseRetry ends it.
func (c *Cluster) AcquireRetry(p Priority) bool {
	spec, u := c.spec.Load(), &c.usage[p]
	if spec == nil || !u.retries.take(u.retryLimit(spec.limits(p))) {
		c.stats.Requests.RetryOverflow.Add(1)
		return false
	}
	c.stats.Requests.Retry.Add(1)
	return true
}

// ReleaseRetry ends what AcquireRetry began.
func (c *Cluster) ReleaseRetry(p Priority) { c.usage[p].retries.release() }

// eachBreaker calls f with the gauges of the circuit breakers.
func (c *Cluster) eachBreaker(f func(name string, value uint64, gauge bool)) {
	spec := c.spec.Load()
	if spec == nil {
		spec = &Spec{}
	}
	for p := range priorities {
		u, l := &c.usage[p], spec.limits(p)
		prefix := "circuit_breakers." + p.String() + "."
		f(prefix+"cx_open", u.connections.full(l.Connections), true)
		f(prefix+"rq_pending_open", u.pending.full(l.Pending), true)
		f(prefix+"rq_open", u.requests.full(l.Requests), true)
		f(prefix+"rq_retry_open", u.retries.full(u.retryLimit(l)), true)
		if !l.Tell {
			continue
		}
		f(prefix+"remaining_cx", u.connections.remaining(l.Connections), true)
		f(prefix+"remaining_pending", u.pending.remaining(l.Pending), true)
		f(prefix+"remaining_rq", u.requests.remaining(l.Requests), true)
		if l.Budget == nil {
			f(prefix+"remaining_retries", u.retries.remaining(l.Retries), true)
		}
	}
}
