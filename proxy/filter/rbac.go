package filter

import (
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/authz"
	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
)

var (
	_ proxy.Filter     = (*RBAC)(nil)
	_ proxy.ConnFilter = (*ConnRBAC)(nil)
)

// Counts are the decisions of RBAC filters, named as Envoy's rbac.* statistics.
// Filters that replace each other share them.
type Counts struct {
	Allowed       atomic.Uint64
	Denied        atomic.Uint64
	ShadowAllowed atomic.Uint64
	ShadowDenied  atomic.Uint64
}

// Policies are what a filter enforces and what it tries only.
type Policies struct {
	// Rules are enforced; nil lets everything in.
	Rules *authz.Set
	// Shadow is decided and counted, without effect; nil is none.
	Shadow *authz.Set
	Counts *Counts
}

// decide asks both sets. A refusal is false with the policy's name.
func (p *Policies) decide(f *authz.Facts, n *Counts) (policy string, allowed bool) {
	if p.Shadow != nil {
		count(p.Shadow.Check(f).Allowed, &n.ShadowAllowed, &n.ShadowDenied)
	}
	if p.Rules == nil {
		return "", true
	}
	d := p.Rules.Check(f)
	count(d.Allowed, &n.Allowed, &n.Denied)
	return d.Policy, d.Allowed
}

func count(allowed bool, yes, no *atomic.Uint64) {
	if allowed {
		yes.Add(1)
		return
	}
	no.Add(1)
}

// RBAC enforces policies on requests.
type RBAC struct {
	// immutable
	name     proxy.FilterName
	policies Policies
}

// NewRBAC makes the filter of an HTTP chain; a rule's *Policies take the place of p.
func NewRBAC(name proxy.FilterName, p Policies) *RBAC { return &RBAC{name: name, policies: p} }

// Policies is the filter's configuration.
func (r *RBAC) Policies() *Policies { return &r.policies }

// Request answers 403 to what the policies do not let in.
func (r *RBAC) Request(x *proxy.Exchange) *proxy.Reply {
	facts := authz.Facts{Conn: x.Conn, Request: x.Request, Remote: x.Remote()}
	policies := &r.policies
	if own, ok := x.Setting(r.name).(*Policies); ok {
		policies = own
	}
	policy, allowed := policies.decide(&facts, r.policies.Counts)
	if policy != "" {
		x.Record.Policy = policy
	}
	if allowed {
		return nil
	}
	return proxy.Denied(policy)
}

// ConnRBAC enforces policies on connections.
type ConnRBAC struct {
	policies Policies // immutable
}

// NewConnRBAC makes the filter of a TCP chain.
func NewConnRBAC(p Policies) *ConnRBAC { return &ConnRBAC{policies: p} }

// Policies is the filter's configuration.
func (r *ConnRBAC) Policies() *Policies { return &r.policies }

// Accept refuses a connection that the policies do not let in.
func (r *ConnRBAC) Accept(c *flow.Conn) error {
	facts := authz.Facts{Conn: c, Remote: c.Remote.Addr()}
	policy, allowed := r.policies.decide(&facts, r.policies.Counts)
	if allowed {
		return nil
	}
	return &proxy.Refusal{Policy: policy, Details: proxy.DeniedDetails(policy)}
}
