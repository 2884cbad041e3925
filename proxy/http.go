package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
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
	Requests    atomic.Uint64
	Active      atomic.Int64
}

// HTTP serves HTTP connections: a connection manager and a router. Its routes are
// live; the compiler is their one writer.
type HTTP struct {
	spec   HTTPSpec // immutable
	open   upstream.OpenOptions
	routes atomic.Pointer[Routes]
	date   dateCache

	Stats HTTPStats
}

// NewHTTP makes the handler of an HTTP chain. Until SetRoutes it answers 404.
func NewHTTP(spec HTTPSpec) *HTTP {
	if spec.Response.ServerName == "" {
		spec.Response.ServerName = "envoy"
	}
	return &HTTP{spec: spec, open: upstream.OpenOptions{ALPN: spec.ALPN.HTTP11}}
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

// session is one downstream connection under HTTP.
type session struct {
	// immutable
	h    *HTTP
	conn *Conn
	ctx  context.Context //nolint:containedctx // the connection's life, which its exchanges share
	cert string          // this hop's element of x-forwarded-client-cert

	expires time.Time // of MaxConnection; zero is never
}

// ServeConn reads and answers requests until the connection ends.
func (h *HTTP) ServeConn(ctx context.Context, c *Conn) {
	h.Stats.Connections.Add(1)
	defer h.Stats.Connections.Add(-1)
	s := &session{h: h, conn: c, ctx: ctx, cert: h.spec.Request.certElement(&c.Flow.TLS)}
	nc, initial := c.take()
	server := http1.NewServerConn(nc, s.options(initial))
	c.sock.release()
	c.OnDrain(server.Drain)
	defer c.OnDrain(nil)
	if d := h.spec.Timeouts.MaxConnection; d > 0 {
		s.expires = c.Flow.Start.Add(d)
		defer time.AfterFunc(time.Until(s.expires), server.Drain).Stop()
	}
	_ = server.Serve(s) // why a connection ended is in its records
}

func (s *session) options(initial []byte) http1.ServerOptions {
	spec := &s.h.spec
	return http1.ServerOptions{
		Limits: http1.Limits{
			HeadTimeout: spec.Timeouts.Head, IdleTimeout: spec.Timeouts.idle(), StreamIdleTimeout: spec.Timeouts.StreamIdle,
		},
		SchemeTLS:        s.conn.Flow.TLS.Established,
		AcceptHTTP10:     spec.AcceptHTTP10,
		Proxy100Continue: spec.Proxy100Continue,
		EnableTrailers:   spec.Trailers,
		Initial:          initial,
		Draining:         s.draining,
		Reject:           s.reject,
	}
}

// forever stands for a timeout that is off where zero means a default.
const forever = 100 * 365 * 24 * time.Hour

func (t *Timeouts) idle() time.Duration {
	if t.Idle < 0 {
		return forever
	}
	return t.Idle
}

// draining tells whether the response that is being sent is the last one.
func (s *session) draining() bool {
	return s.conn.Draining() || !s.expires.IsZero() && time.Now().After(s.expires)
}

// ServeExchange answers one request.
func (s *session) ServeExchange(w httpmsg.ResponseWriter, r *httpmsg.Request) {
	s.h.exchange(s, w, r)
}

// reject answers and records a request that the codec refused.
func (s *session) reject(pe *http1.ProtocolError) *httpmsg.Response {
	reply := &Reply{Status: pe.Status, Details: pe.Details}
	if pe.Violation {
		reply.Flag, reply.Flagged = flow.DownstreamProtocolError, true
		reply.Body = http1.Reason(pe.Status)
	}
	if pe.Status == 408 {
		reply.Body = "request header timeout"
	}
	resp := reply.response(false, nil)
	s.h.finishHead(resp, time.Now())
	rec := flow.Record{Conn: s.conn.Flow, Start: time.Now(), HTTP: true, Details: reply.Details}
	rec.Request.Head, rec.Request.Protocol = &httpmsg.Header{}, "HTTP/1.1"
	rec.Response = flow.Response{Status: resp.Status, Head: &resp.Header, Trailer: &resp.Trailer, Bytes: int64(len(reply.Body)), Local: true}
	if reply.Flagged {
		rec.Flags.Set(reply.Flag)
	}
	s.h.Stats.Requests.Add(1)
	observe(s.h.spec.Observers, &rec)
	return resp
}

// take returns what a codec reads from, and what was peeked of it, which the
// codec copies.
func (c *Conn) take() (net.Conn, []byte) {
	if c.Conn == net.Conn(c.sock) {
		return c.sock.Conn, c.sock.prefix
	}
	return c.Conn, nil
}

// exchanges are used again, since all their parts together are large.
var exchanges = sync.Pool{New: func() any { return newExchange() }}
