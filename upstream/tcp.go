package upstream

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
)

// Conn is a connection to an endpoint for the use of one TCP flow. The embedded
// connection is a *net.TCPConn in plain text and a *tls.Conn else.
type Conn struct {
	net.Conn
	TLS      flow.TLS
	Endpoint *lb.Endpoint

	cluster *Cluster
	raw     net.Conn
	end     sync.Once
}

// Dial makes a connection to the endpoint; TCP and TLS together have the spec's
// ConnectTimeout. ctx bounds the dial only. Errors are *flow.Error.
func (c *Cluster) Dial(ctx context.Context, e *lb.Endpoint, o *OpenOptions) (*Conn, error) {
	spec := c.spec.Load()
	w := berthOf(c, e).way()
	if spec == nil || w == nil {
		return nil, noCluster(c.name, ErrUnknown)
	}
	u := &c.usage[DefaultPriority]
	if !u.connections.take(spec.Limits.Connections) {
		c.stats.CxOverflow.Add(1)
		return nil, overflow(ErrOverflow)
	}
	if !c.beginPending(DefaultPriority, spec) {
		u.connections.release()
		return nil, overflow(ErrOverflow)
	}
	e.Acquire()
	conn, err := c.dial(ctx, spec, w, o)
	c.endPending(DefaultPriority)
	c.dialled(e, err)
	if err != nil {
		e.Release()
		u.connections.release()
		return nil, err
	}
	u.requests.force() // as in Envoy each connection is a request, too
	c.stats.Requests.Total.Add(1)
	c.stats.Requests.Active.Add(1)
	return conn, nil
}

func (c *Cluster) dial(ctx context.Context, spec *Spec, w *way, o *OpenOptions) (*Conn, error) {
	if o != nil && !o.Deadline.IsZero() {
		bounded, stop := context.WithDeadline(ctx, o.Deadline)
		defer stop()
		ctx = bounded
	}
	m, err := c.connect(ctx, spec, w, spec.override(o, HTTP1))
	if err != nil {
		return nil, err
	}
	conn := &Conn{Conn: m.conn, TLS: m.facts, Endpoint: w.endpoint, cluster: c, raw: m.raw}
	if !c.live.swap(m.attempt, conn) {
		c.drop(m)
		return nil, closed()
	}
	return conn, nil
}

// Local is our address on the connection, invalid if it has none.
func (c *Conn) Local() netip.AddrPort { return localOf(c.raw) }

// CloseWrite tells the upstream that no more bytes follow.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection and gives its place up. Further calls do no harm.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.end.Do(func() {
		c.Endpoint.Release()
		u := &c.cluster.usage[DefaultPriority]
		u.connections.release()
		u.requests.release()
		c.cluster.stats.Requests.Active.Add(-1)
		c.cluster.cxEnded()
		c.cluster.live.remove(c)
	})
	return err
}

// Done is Close for the end of a flow, where no error matters any more.
func (c *Conn) Done() { _ = c.Close() }

func (c *Conn) kill() {
	_ = c.raw.Close() // whoever uses it reports the error
	c.Done()
}
