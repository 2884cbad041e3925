package compile

import (
	"sync"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

// PolicyPrefix is where Envoy counts the decisions of an RBAC filter.
type PolicyPrefix struct {
	// HTTP tells a filter on requests from one on connections.
	HTTP bool
	// Flow is the prefix of the HTTP manager, or of the network filter itself.
	Flow string
	// Rules and Shadow stand before "allowed" and "shadow_allowed".
	Rules, Shadow string
}

// countsBy are counters by their prefix, so that what replaces another with the same
// prefix counts on.
type countsBy[K comparable, V any] struct {
	mu sync.Mutex
	by map[K]*V // guarded by mu
}

func (c *countsBy[K, V]) of(prefix K) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[K]*V)
	}
	if c.by[prefix] == nil {
		c.by[prefix] = new(V)
	}
	return c.by[prefix]
}

func (c *countsBy[K, V]) each(f func(K, *V)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for prefix, n := range c.by {
		f(prefix, n)
	}
}

// EachPolicyCount calls f with the counters of each RBAC filter's prefix.
func (c *Compiler) EachPolicyCount(f func(PolicyPrefix, *filter.Counts)) { c.policies.each(f) }

// EachManagerCount calls f with the counters of each HTTP manager's prefix.
func (c *Compiler) EachManagerCount(f func(string, *proxy.HTTPStats)) { c.managers.each(f) }

// EachFaultCount calls f with the counters of injected faults, by the manager's prefix.
func (c *Compiler) EachFaultCount(f func(string, *filter.FaultCounts)) { c.faults.each(f) }

// EachPageCount calls f with the counters of CORS filters, by the manager's prefix.
func (c *Compiler) EachPageCount(f func(string, *filter.CORSCounts)) { c.pages.each(f) }

// MirrorsDropped counts copies of requests that were not sent, or given up for being slow.
func (c *Compiler) MirrorsDropped() uint64 { return c.mirrors.Dropped() }

// rateLimits are the counters of local rate limits of one prefix.
func (c *Compiler) rateLimits(prefix string) *filter.RateLimitCounts { return c.limits.of(prefix) }

// EachLimitCount calls f with the counters of local rate limits, by their prefix.
func (c *Compiler) EachLimitCount(f func(string, *filter.RateLimitCounts)) { c.limits.each(f) }
