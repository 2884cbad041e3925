package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/crash"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// session is one downstream connection under HTTP.
type session struct {
	// immutable
	h    *HTTP
	conn *Conn
	ctx  context.Context //nolint:containedctx // the connection's life, which its exchanges share
	cert string          // this hop's element of x-forwarded-client-cert

	expires time.Time   // of MaxConnection; zero is never
	age     *time.Timer // rings then; nil is never

	server server        // set before the first exchange
	served atomic.Uint32 // exchanges that have begun

	bug crash.Box // of an exchange
}

// server is a codec's side of a downstream connection.
type server interface {
	Serve(h httpmsg.Handler) error
	Drain()
}

// ServeConn reads and answers requests until the connection ends.
func (h *HTTP) ServeConn(ctx context.Context, c *Conn) {
	h.Stats.Connections.Add(1)
	defer h.Stats.Connections.Add(-1)
	s, err := newSession(ctx, h, c)
	if err != nil { // it ended before it had said anything
		return
	}
	defer s.end()
	_ = s.server.Serve(s) // why a connection ended is in its records
	s.bug.Rethrow()
}

// newSession prepares a session, up to its codec.
func newSession(ctx context.Context, h *HTTP, c *Conn) (*session, error) {
	s := &session{h: h, conn: c, ctx: ctx, cert: h.spec.Request.certElement(&c.Flow.TLS)}
	codec, err := h.detectCodec(c)
	if err != nil {
		return nil, err
	}
	if d := h.spec.Timeouts.MaxConnection; d > 0 {
		s.expires = c.Flow.Start.Add(d)
	}
	s.open(codec)
	c.OnDrain(s.server.Drain)
	if !s.expires.IsZero() {
		s.age = time.AfterFunc(time.Until(s.expires), s.expire)
	}
	return s, nil
}

// end undoes newSession.
func (s *session) end() {
	if s.age != nil {
		s.age.Stop()
	}
	s.conn.OnDrain(nil)
}

// open gives the connection to its codec.
func (s *session) open(codec Codec) {
	nc, initial := s.conn.take()
	if codec == CodecHTTP2 {
		s.h.Stats.HTTP2.Add(1)
		s.server = http2.NewServerConn(nc, s.http2Options(initial))
	} else {
		s.h.Stats.HTTP1.Add(1)
		s.server = http1.NewServerConn(nc, s.http1Options(initial))
	}
	s.conn.sock.release()
}

func (s *session) http1Options(initial []byte) http1.ServerOptions {
	spec := &s.h.spec
	return http1.ServerOptions{
		Limits: http1.Limits{
			MaxHeadBytes: spec.HTTP1.MaxHeadBytes, MaxHeaders: spec.HTTP1.MaxHeaders,
			HeadTimeout: spec.Timeouts.Head, IdleTimeout: spec.Timeouts.idle(), StreamIdleTimeout: spec.Timeouts.StreamIdle,
		},
		SchemeTLS:        s.conn.Flow.TLS.Established,
		AcceptHTTP10:     spec.AcceptHTTP10,
		Proxy100Continue: spec.Proxy100Continue,
		EnableTrailers:   spec.Trailers,
		Initial:          initial,
		Draining:         s.draining,
		Reject:           s.reject,

		Names:              spec.HTTP1.Names,
		AllowChunkedLength: spec.HTTP1.AllowChunkedLength,
		NoAbsolute:         spec.HTTP1.NoAbsolute,
	}
}

func (s *session) http2Options(initial []byte) http2.ServerOptions {
	spec := &s.h.spec
	return http2.ServerOptions{
		Settings:          spec.HTTP2,
		IdleTimeout:       spec.Timeouts.idle(),
		StreamIdleTimeout: spec.Timeouts.StreamIdle,
		SchemeTLS:         s.conn.Flow.TLS.Established,
		Proxy100Continue:  spec.Proxy100Continue,
		Initial:           initial,
		Draining:          s.draining,
		Reject:            s.rejectStream,
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

// expire drains a connection that has lived for as long as it may.
func (s *session) expire() {
	s.h.Stats.MaxAge.Add(1)
	s.server.Drain()
}

// draining tells whether the response that is being sent is the last one.
func (s *session) draining() bool {
	return s.conn.Draining() || s.worn() || !s.expires.IsZero() && time.Now().After(s.expires)
}

// worn reports whether the connection has served as many requests as it may.
func (s *session) worn() bool {
	most := s.h.spec.MaxRequests
	return most > 0 && s.served.Load() >= most
}

// ServeExchange answers one request.
func (s *session) ServeExchange(w httpmsg.ResponseWriter, r *httpmsg.Request) {
	if most := s.h.spec.MaxRequests; most > 0 && s.served.Add(1) == most {
		s.h.Stats.MaxRequests.Add(1)
		s.server.Drain()
	}
	if r.Protocol == protocolHTTP2 {
		defer s.leave()
		defer s.bug.Catch()
	}
	s.h.exchange(s, w, r)
}

// leave ends a connection of many exchanges when one of them ran into a bug. The
// exchange runs on a goroutine of the codec; what it met is told at the end of the
// connection, in the one place that counts and tells.
func (s *session) leave() {
	if s.bug.Caught() {
		s.conn.abort()
	}
}

// reject answers and records a request that the codec refused.
func (s *session) reject(pe *http1.ProtocolError) *httpmsg.Response {
	reply := &Reply{Status: pe.Status, Details: pe.Details}
	switch {
	case pe.Status == 0:
		reply.Flag, reply.Flagged = flow.DownstreamConnectionTermination, true
	case pe.Violation:
		reply.Flag, reply.Flagged = flow.DownstreamProtocolError, true
		reply.Body = http1.Reason(pe.Status)
	}
	if pe.Status == 408 {
		reply.Body = "request header timeout"
	}
	resp := reply.response(false, nil)
	s.h.finishHead(resp, time.Now())
	rec := flow.Record{Details: reply.Details}
	rec.Request.Protocol, rec.Request.Method, rec.Request.Path = protocolHTTP11, pe.Method, pe.Path
	rec.Response = flow.Response{Status: resp.Status, Head: &resp.Header, Trailer: &resp.Trailer, Bytes: int64(len(reply.Body)), Local: true}
	if reply.Flagged {
		rec.Flags.Set(reply.Flag)
	}
	s.record(&rec)
	return resp
}

// rejectStream records a request that the HTTP/2 codec refused, which means that it
// was reset.
func (s *session) rejectStream(pe *http2.ProtocolError) {
	rec := flow.Record{Details: pe.Details}
	rec.Request.Protocol = protocolHTTP2
	rec.Response.Head, rec.Response.Trailer = &httpmsg.Header{}, &httpmsg.Header{}
	flag := flow.DownstreamProtocolError
	if pe.OverLimit() { // Envoy takes its own reset for the downstream's
		flag = flow.DownstreamRemoteReset
	}
	rec.Flags.Set(flag)
	s.record(&rec)
}

// record shows a request that never became an exchange.
func (s *session) record(rec *flow.Record) {
	rec.Conn, rec.Start, rec.HTTP = s.conn.Flow, time.Now(), true
	observe(s.h.spec.Observers, rec)
}
