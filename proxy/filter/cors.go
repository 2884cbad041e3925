package filter

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

var (
	_ proxy.Filter         = (*CORS)(nil)
	_ proxy.ResponseFilter = (*CORS)(nil)
)

// CORSCounts are named as Envoy's cors.* statistics.
type CORSCounts struct {
	Valid   atomic.Uint64 // origin_valid
	Invalid atomic.Uint64 // origin_invalid
}

// CORSPolicy says which pages of other origins may read responses.
type CORSPolicy struct {
	Origins []match.String
	// Methods, Headers, Expose and MaxAge are sent as they are; empty ones are not.
	Methods, Headers, Expose, MaxAge string
	Credentials                      bool
	PrivateNetwork                   bool
	// Forward passes preflights on whose origin is not allowed.
	Forward bool
	// Enabled is the share of requests to which it applies, Shadow that for which
	// origins are only counted.
	Enabled, Shadow Share
}

// allows reports whether an origin may; a pattern that takes "*" takes everybody.
func (p *CORSPolicy) allows(origin string) bool {
	for i := range p.Origins {
		if p.Origins[i].Match("*") || p.Origins[i].Match(origin) {
			return true
		}
	}
	return false
}

// CORS answers preflights, and tells browsers which pages may read a response
// (envoy.filters.http.cors). Without a policy of the rule it does nothing.
type CORS struct {
	// immutable
	name   proxy.FilterName
	counts *CORSCounts
}

// NewCORS makes the filter of a chain; policies are those of its rules (*CORSPolicy).
func NewCORS(name proxy.FilterName, counts *CORSCounts) *CORS {
	return &CORS{name: name, counts: counts}
}

// allowedPage is what the response has to say.
type allowedPage struct {
	policy *CORSPolicy
	origin string
}

// Request answers preflights.
func (c *CORS) Request(x *proxy.Exchange) *proxy.Reply {
	policy, ok := x.Setting(c.name).(*CORSPolicy)
	if !ok || x.Rule == nil || len(x.Rule.Clusters) == 0 { // what is answered here has no policy, as in Envoy
		return nil
	}
	enabled := policy.Enabled.hit(rand.Uint64())       //nolint:gosec // chance
	if !enabled && !policy.Shadow.hit(rand.Uint64()) { //nolint:gosec // chance
		return nil
	}
	h := &x.Request.Header
	origin := h.Value("origin")
	if origin == "" {
		return nil
	}
	allowed := policy.allows(origin)
	if allowed {
		c.counts.Valid.Add(1)
	} else {
		c.counts.Invalid.Add(1)
	}
	if !enabled {
		return nil
	}
	if allowed {
		x.Remember(c, &allowedPage{policy, origin})
	}
	if x.Request.Method != "OPTIONS" || h.Value("access-control-request-method") == "" || !allowed && policy.Forward {
		return nil
	}
	return policy.preflight(h, origin, allowed)
}

// preflight is the answer to a browser that asks before it sends.
func (p *CORSPolicy) preflight(h *httpmsg.Header, origin string, allowed bool) *proxy.Reply {
	reply := &proxy.Reply{Status: 200, Details: "cors_response", Plain: true}
	add := func(name, value string) {
		if value != "" {
			reply.Header = append(reply.Header, httpmsg.Field{Name: name, Value: value})
		}
	}
	if allowed {
		add("access-control-allow-origin", origin)
	}
	if p.Credentials {
		add("access-control-allow-credentials", "true")
	}
	add("access-control-allow-methods", orAsked(p.Methods, h, "access-control-request-method"))
	add("access-control-allow-headers", orAsked(p.Headers, h, "access-control-request-headers"))
	add("access-control-max-age", p.MaxAge)
	if p.PrivateNetwork && h.Value("access-control-request-private-network") == "true" {
		add("access-control-allow-private-network", "true")
	}
	return reply
}

// orAsked replaces "*" by what was asked for.
func orAsked(value string, h *httpmsg.Header, name string) string {
	if value == "*" {
		return h.Value(name)
	}
	return value
}

// Response tells who may read it.
func (c *CORS) Response(x *proxy.Exchange) {
	page, ok := x.Recall(c).(*allowedPage)
	if !ok {
		return
	}
	h := &x.Response.Header
	h.Set("access-control-allow-origin", page.origin)
	if page.policy.Credentials {
		h.Set("access-control-allow-credentials", "true")
	}
	if page.policy.Expose != "" {
		h.Set("access-control-expose-headers", page.policy.Expose)
	}
}
