package upstream

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Stream is the use of a connection for one HTTP exchange. It lives from Open to
// Close; after Close it must not be touched, since it then serves another.
type Stream struct {
	conn *conn
	open atomic.Bool
}

// conn is a connection of a pool. Whoever took it from the pool owns it.
type conn struct {
	// immutable
	pool  *pool
	codec *http1.ClientConn
	raw   net.Conn
	tls   flow.TLS
	local netip.AddrPort
	born  time.Time
	watch watch

	// owned by the one who has taken it
	stream    Stream
	requests  uint32
	idleSince time.Time

	peerClosed atomic.Bool
	over       atomic.Bool
}

// Open lends a connection to the endpoint for one exchange: an idle one, or a new
// one, for which TCP and TLS together have the spec's ConnectTimeout. ctx bounds the
// opening only. Errors are *flow.Error.
func (c *Cluster) Open(ctx context.Context, e *lb.Endpoint, o *OpenOptions) (*Stream, error) {
	spec := c.spec.Load()
	if spec == nil {
		return nil, noCluster(c.name, ErrUnknown)
	}
	if !c.usage.requests.take(spec.Limits.Requests) {
		c.stats.Requests.PendingOverflow.Add(1)
		return nil, overflow()
	}
	e.Acquire()
	cn, err := c.find(ctx, e, o)
	if err != nil {
		e.Release()
		c.usage.requests.release()
		return nil, err
	}
	c.stats.Requests.Total.Add(1)
	c.stats.Requests.Active.Add(1)
	cn.requests++
	cn.stream.open.Store(true)
	return &cn.stream, nil
}

// find takes a connection from the pool, waits for one, or opens one.
func (c *Cluster) find(ctx context.Context, e *lb.Endpoint, o *OpenOptions) (*conn, error) {
	b := berthOf(c, e)
	for {
		w, spec := b.way(), c.spec.Load()
		if w == nil || spec == nil {
			return nil, noCluster(c.name, ErrUnknown)
		}
		p := w.pool(spec.offer(o))
		if cn := p.take(spec); cn != nil {
			return cn, nil
		}
		cn, err := c.pendUntil(ctx, o, p, spec)
		if cn != nil || err != nil {
			return cn, err
		}
	}
}

// pendUntil is pend with the deadline that the flow may have.
func (c *Cluster) pendUntil(ctx context.Context, o *OpenOptions, p *pool, spec *Spec) (*conn, error) {
	if o == nil || o.Deadline.IsZero() {
		return c.pend(ctx, p, spec)
	}
	bounded, stop := context.WithDeadline(ctx, o.Deadline)
	defer stop()
	return c.pend(bounded, p, spec)
}

// pend is find for a request that no idle connection can take. Without connection
// and error the caller has to look again.
func (c *Cluster) pend(ctx context.Context, p *pool, spec *Spec) (*conn, error) {
	if !c.usage.pending.take(spec.Limits.Pending) {
		c.stats.Requests.PendingOverflow.Add(1)
		return nil, overflow()
	}
	c.stats.Requests.PendingTotal.Add(1)
	c.stats.Requests.PendingActive.Add(1)
	defer func() {
		c.stats.Requests.PendingActive.Add(-1)
		c.usage.pending.release()
	}()
	g, err := p.reserve(ctx, spec)
	if err != nil || !g.open {
		return g.conn, err
	}
	cn, err := c.openConn(ctx, p, spec)
	if err != nil {
		p.forgo()
		return nil, err
	}
	return cn, nil
}

func (c *Cluster) openConn(ctx context.Context, p *pool, spec *Spec) (*conn, error) {
	cn := &conn{pool: p}
	cn.stream.conn = cn
	m, err := c.connect(ctx, spec, p.way, p.alpn)
	if err != nil {
		return nil, err
	}
	cn.raw, cn.tls, cn.local = m.raw, m.facts, localOf(m.raw)
	cn.born = time.Now()
	cn.codec = http1.NewClientConn(m.conn, http1.ClientOptions{})
	cn.watch = c.o.Reaper.add(cn)
	if !c.live.swap(m.attempt, cn) {
		c.o.Reaper.remove(cn.watch)
		c.drop(m)
		return nil, closed()
	}
	return cn, nil
}

// offer is the list of protocols for TLS to offer; nil is the socket's own.
func (s *Spec) offer(o *OpenOptions) []string {
	if o == nil || !s.ALPNOverride {
		return nil
	}
	return o.ALPN
}

// RoundTrip sends the request and returns the response's head. See
// httpmsg.RoundTripper.
func (s *Stream) RoundTrip(r *httpmsg.Request, deadline time.Time) (*httpmsg.Response, error) {
	return s.conn.codec.RoundTrip(r, deadline)
}

// SetBodyDeadline bounds the reading of the response's body; zero means no bound. It
// is called by the goroutine that runs the exchange.
func (s *Stream) SetBodyDeadline(t time.Time) { s.conn.codec.SetBodyDeadline(t) }

// Abort ends the exchange with err, from any goroutine. The caller sees to it that
// Close does not happen meanwhile; after Close it does nothing.
func (s *Stream) Abort(err error) {
	if s.open.Load() {
		s.conn.codec.Abort(err)
	}
}

// Local is our address on the connection, invalid if it has none.
func (s *Stream) Local() netip.AddrPort { return s.conn.local }

// TLS is what the handshake told; not established for plain text.
func (s *Stream) TLS() *flow.TLS { return &s.conn.tls }

// Reused reports whether the connection has served another exchange before, so
// that it may have been closed by the upstream without anybody noticing.
func (s *Stream) Reused() bool { return s.conn.requests > 1 }

// Close ends the exchange and the life of its response. The connection goes back to the
// pool if the exchange was complete, else it is closed. A second Close before the connection is lent again does
// nothing.
func (s *Stream) Close() {
	if !s.open.CompareAndSwap(true, false) {
		return
	}
	cn := s.conn
	c := cn.cluster()
	c.stats.Requests.Active.Add(-1)
	c.usage.requests.release()
	cn.pool.way.endpoint.Release()
	spec := c.spec.Load()
	if spec == nil || !cn.codec.Reusable() || cn.wornOut(spec) {
		cn.close()
		return
	}
	cn.codec.Release()
	cn.pool.give(cn)
}

func (cn *conn) cluster() *Cluster { return cn.pool.way.cluster }

// wornOut reports whether the connection has served as much as it may.
func (cn *conn) wornOut(spec *Spec) bool {
	if m := spec.HTTP.MaxRequestsPerConn; m > 0 && cn.requests >= m {
		cn.cluster().stats.CxMaxRequests.Add(1)
		return true
	}
	m := spec.HTTP.MaxConnDuration
	return m > 0 && time.Since(cn.born) >= m
}

// expired reports whether an idle connection is too old to be used.
func (cn *conn) expired(spec *Spec) bool {
	now := time.Now()
	if t := spec.idleTimeout(); t > 0 && cn.idleFor(now) >= t {
		cn.cluster().stats.CxIdleTimeout.Add(1)
		return true
	}
	m := spec.HTTP.MaxConnDuration
	return m > 0 && now.Sub(cn.born) >= m
}

func (cn *conn) idleFor(now time.Time) time.Duration { return now.Sub(cn.idleSince) }

// usable asks the system whether the upstream is still there and has said nothing
// since its last response.
func (cn *conn) usable() bool {
	if cn.peerClosed.Load() || !cn.codec.Alive() {
		cn.cluster().stats.CxDead.Add(1)
		return false
	}
	return true
}

// close ends the connection. It is called by the owner, never under a lock.
func (cn *conn) close() {
	if !cn.end() {
		return
	}
	if cn.peerClosed.Load() {
		_ = cn.raw.Close() // no farewell to one who has left
	}
	_ = cn.codec.Close() // the connection is of no more use, however it ends
}

// kill ends the connection under the exchange that uses it.
func (cn *conn) kill() {
	if cn.end() {
		cn.codec.Abort(closed())
		_ = cn.raw.Close() // whoever uses it reports the error
	}
}

// end gives up all that the connection holds but itself, once.
func (cn *conn) end() bool {
	if !cn.over.CompareAndSwap(false, true) {
		return false
	}
	c := cn.cluster()
	c.o.Reaper.remove(cn.watch)
	c.cxEnded()
	cn.pool.forgo()
	c.live.remove(cn)
	return true
}

// newlyClosed is called by the reaper.
func (cn *conn) newlyClosed() { cn.pool.peerClosed(cn) }

func localOf(nc net.Conn) netip.AddrPort {
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
