package upstream

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Stream is the use of a connection for one HTTP exchange. It lives from Open to
// Close; after Close it must not be touched, since it then serves another.
type Stream struct {
	// set while it is lent
	carrier carrier
	link    *link
	lender  lender

	class Priority // whose limits it counts against

	open atomic.Bool
}

// carrier is a codec's part in one exchange.
type carrier interface {
	httpmsg.RoundTripper
	SetBodyDeadline(t time.Time)
}

// lender is the connection that a stream belongs to.
type lender interface {
	giveBack(s *Stream)
	reused() bool
}

// Open lends a connection to the endpoint for one exchange: one that is there, or a
// new one, for which TCP and TLS together have the spec's ConnectTimeout. ctx bounds
// the opening only. Errors are *flow.Error.
func (c *Cluster) Open(ctx context.Context, e *lb.Endpoint, o *OpenOptions) (*Stream, error) {
	return c.lend(e, o.class(), func() (*Stream, error) { return c.find(ctx, e, o) })
}

// TryOpen is Open where nothing has to be waited for; else it returns nil, and Open
// is to be called.
func (c *Cluster) TryOpen(e *lb.Endpoint, o *OpenOptions) (*Stream, error) {
	return c.lend(e, o.class(), func() (*Stream, error) {
		spec, d := c.depot(e, o)
		if d == nil {
			return nil, noCluster(c.name, ErrUnknown)
		}
		return d.take(spec), nil
	})
}

// lend counts what find lends. As in Envoy, the limit on requests is looked at when
// there is a connection: those that wait for one are bounded by their own.
func (c *Cluster) lend(e *lb.Endpoint, class Priority, find func() (*Stream, error)) (*Stream, error) {
	spec := c.spec.Load()
	if spec == nil {
		return nil, noCluster(c.name, ErrUnknown)
	}
	e.Acquire()
	s, err := find()
	if err == nil && s != nil && !c.usage[class].requests.take(spec.limits(class).Requests) {
		s.lender.giveBack(s)
		c.stats.Requests.ActiveOverflow.Add(1)
		s, err = nil, overflow(ErrOverflow)
	}
	if err != nil || s == nil {
		e.Release()
		return nil, err
	}
	s.class = class
	c.stats.Requests.Total.Add(1)
	c.stats.Requests.Active.Add(1)
	s.open.Store(true)
	return s, nil
}

// depot is where the connections lie that speak one version of HTTP: a pool or a hub.
type depot interface {
	// take lends a connection that is there, or returns nil.
	take(spec *Spec) *Stream
	// await waits for one, or opens one. Without stream and error the caller has to
	// look again.
	await(ctx context.Context, spec *Spec) (*Stream, error)
}

// depot finds the depot for a flow under the current spec; nil when the cluster is
// empty.
func (c *Cluster) depot(e *lb.Endpoint, o *OpenOptions) (*Spec, depot) {
	w, spec := berthOf(c, e).way(), c.spec.Load()
	if w == nil || spec == nil {
		return nil, nil
	}
	version := spec.version(o)
	alpn := w.offer(spec, o, version)
	if version == HTTP1 {
		return spec, w.pool(alpn, o.class())
	}
	if h := w.hub(alpn, version == Negotiated, o.class()); !h.fellBack.Load() {
		return spec, h
	}
	return spec, w.pool(withoutHTTP2(alpn), o.class())
}

// find takes a connection, waits for one, or opens one.
func (c *Cluster) find(ctx context.Context, e *lb.Endpoint, o *OpenOptions) (*Stream, error) {
	for {
		spec, d := c.depot(e, o)
		if d == nil {
			return nil, noCluster(c.name, ErrUnknown)
		}
		if s := d.take(spec); s != nil {
			return s, nil
		}
		s, err := c.pendUntil(ctx, o, d, spec)
		if s != nil || err != nil {
			return s, err
		}
	}
}

// pendUntil is pend with the deadline that the flow may have.
func (c *Cluster) pendUntil(ctx context.Context, o *OpenOptions, d depot, spec *Spec) (*Stream, error) {
	if o == nil || o.Deadline.IsZero() {
		return c.pend(ctx, o.class(), d, spec)
	}
	bounded, stop := context.WithDeadline(ctx, o.Deadline)
	defer stop()
	return c.pend(bounded, o.class(), d, spec)
}

// pend is find for a request that no connection can take at once. Without stream
// and error the caller has to look again.
func (c *Cluster) pend(ctx context.Context, class Priority, d depot, spec *Spec) (*Stream, error) {
	if !c.beginPending(class, spec) {
		return nil, overflow(ErrQueueFull)
	}
	defer c.endPending(class)
	return d.await(ctx, spec)
}

// beginPending counts one more that waits for a connection, unless those are too many.
func (c *Cluster) beginPending(class Priority, spec *Spec) bool {
	if !c.usage[class].pending.take(spec.limits(class).Pending) {
		c.stats.Requests.PendingOverflow.Add(1)
		return false
	}
	c.stats.Requests.PendingTotal.Add(1)
	c.stats.Requests.PendingActive.Add(1)
	return true
}

func (c *Cluster) endPending(class Priority) {
	c.stats.Requests.PendingActive.Add(-1)
	c.usage[class].pending.release()
}

// RoundTrip sends the request and returns the response's head. See
// httpmsg.RoundTripper.
func (s *Stream) RoundTrip(r *httpmsg.Request, deadline time.Time) (*httpmsg.Response, error) {
	return s.carrier.RoundTrip(r, deadline)
}

// SetBodyDeadline bounds the reading of the response's body; zero means no bound. It
// is called by the goroutine that runs the exchange.
func (s *Stream) SetBodyDeadline(t time.Time) { s.carrier.SetBodyDeadline(t) }

// Abort ends the exchange with err, from any goroutine. The caller sees to it that
// Close does not happen meanwhile; after Close it does nothing.
func (s *Stream) Abort(err error) {
	if s.open.Load() {
		s.carrier.Abort(err)
	}
}

// Local is our address on the connection, invalid if it has none.
func (s *Stream) Local() netip.AddrPort { return s.link.local }

// TLS is what the handshake told; not established for plain text.
func (s *Stream) TLS() *flow.TLS { return &s.link.tls }

// Reused reports whether the connection has served another exchange before, so
// that it may have been closed by the upstream without anybody noticing.
func (s *Stream) Reused() bool { return s.lender.reused() }

// Close ends the exchange and the life of its response. A second Close before the
// stream is lent again does nothing.
func (s *Stream) Close() {
	if !s.open.CompareAndSwap(true, false) {
		return
	}
	c := s.link.cluster()
	c.stats.Requests.Active.Add(-1)
	c.usage[s.class].requests.release()
	s.link.way.endpoint.Release()
	s.lender.giveBack(s)
}
