package upstream

import "sync/atomic"

// gauge counts what is in use against a limit that may change meanwhile.
type gauge struct{ n atomic.Int64 }

// take counts one more unless the limit, where there is one, is reached.
func (g *gauge) take(limit uint32) bool {
	if g.n.Add(1) > int64(limit) && limit != 0 {
		g.n.Add(-1)
		return false
	}
	return true
}

// force counts one more whatever the limit.
func (g *gauge) force() { g.n.Add(1) }

func (g *gauge) release() { g.n.Add(-1) }

// full is 1 when nothing more may be taken, else 0.
func (g *gauge) full(limit uint32) uint64 {
	if limit != 0 && g.n.Load() >= int64(limit) {
		return 1
	}
	return 0
}

// usage is what a cluster has in use of what its Limits limit.
type usage struct {
	connections, pending, requests, retries gauge
}

// AcquireRetry counts a retry in progress; false means that the circuit breaker
// for retries is open. ReleaseRetry ends it.
func (c *Cluster) AcquireRetry() bool {
	spec := c.spec.Load()
	if spec == nil || !c.usage.retries.take(spec.Limits.Retries) {
		c.stats.Requests.RetryOverflow.Add(1)
		return false
	}
	c.stats.Requests.Retry.Add(1)
	return true
}

// ReleaseRetry ends what AcquireRetry began.
func (c *Cluster) ReleaseRetry() { c.usage.retries.release() }
