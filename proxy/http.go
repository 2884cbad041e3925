package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// Filter looks at a request before it is forwarded. A nil reply lets it go on.
type Filter interface {
	Request(*Exchange) *Reply
}

// ResponseFilter is a Filter that also looks at the response, theirs or ours.
type ResponseFilter interface {
	Response(*Exchange)
}

// HTTPStats counts as Envoy's http.* statistics do.
type HTTPStats struct {
	Connections atomic.Int64 // downstream_cx_active
	Active      atomic.Int64 // downstream_rq_active
	// Connections that have begun to speak (downstream_cx_http1_total and
	// downstream_cx_http2_total).
	HTTP1, HTTP2 atomic.Uint64
	// Connections that drained for having served, or lived, for as long as they may
	// (downstream_cx_max_requests_reached and downstream_cx_max_duration_reached).
	MaxRequests, MaxAge atomic.Uint64
}

// HTTP serves HTTP connections: a connection manager and a router. Its routes are
// live; the compiler is their one writer.
type HTTP struct {
	spec HTTPSpec // immutable
	// opens are what an exchange wants of its connection, by what the downstream
	// speaks.
	opens  struct{ http10, http1, http2 upstream.OpenOptions }
	routes atomic.Pointer[Routes]
	date   dateCache

	Stats *HTTPStats // immutable, the pointer
}

// NewHTTP makes the handler of an HTTP chain. Until SetRoutes it answers 404.
func NewHTTP(spec HTTPSpec) *HTTP {
	if spec.Response.ServerName == "" {
		spec.Response.ServerName = "envoy"
	}
	if spec.Stats == nil {
		spec.Stats = new(HTTPStats)
	}
	h := &HTTP{spec: spec, Stats: spec.Stats}
	h.opens.http1 = upstream.OpenOptions{Downstream: upstream.HTTP1, ALPN: spec.ALPN.HTTP11, ALPN2: spec.ALPN.HTTP2}
	h.opens.http10, h.opens.http2 = h.opens.http1, h.opens.http1
	h.opens.http10.ALPN10 = spec.ALPN.HTTP10
	h.opens.http2.Downstream = upstream.HTTP2
	return h
}

// openFor is what an exchange wants of its upstream connection.
func (h *HTTP) openFor(r *httpmsg.Request) *upstream.OpenOptions {
	switch r.Protocol {
	case protocolHTTP2:
		return &h.opens.http2
	case protocolHTTP10:
		return &h.opens.http10
	}
	return &h.opens.http1
}

// Spec is the handler's configuration.
func (h *HTTP) Spec() *HTTPSpec { return &h.spec }

// SetRoutes swaps the routes. Requests that were matched keep their rule.
func (h *HTTP) SetRoutes(r Routes) {
	if r == nil {
		h.routes.Store(nil)
		return
	}
	h.routes.Store(&r)
}

// exchanges are used again, since all their parts together are large.
var exchanges = sync.Pool{New: func() any { return newExchange() }}
