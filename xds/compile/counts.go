package compile

import (
	"sync"

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

// policyCounts are the counters of all RBAC filters by prefix, so that a filter that
// replaces another counts on.
type policyCounts struct {
	mu sync.Mutex
	by map[PolicyPrefix]*filter.Counts // guarded by mu
}

func (p *policyCounts) of(prefix PolicyPrefix) *filter.Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = make(map[PolicyPrefix]*filter.Counts)
	}
	if p.by[prefix] == nil {
		p.by[prefix] = new(filter.Counts)
	}
	return p.by[prefix]
}

// EachPolicyCount calls f with the counters of each prefix.
func (c *Compiler) EachPolicyCount(f func(PolicyPrefix, *filter.Counts)) {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	for prefix, n := range c.counts.by {
		f(prefix, n)
	}
}
