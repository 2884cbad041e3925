package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
)

// made is a connection that was just made. It is still registered as the attempt
// that made it; the caller swaps that for what the connection becomes.
type made struct {
	raw     net.Conn // the TCP connection
	conn    net.Conn // the same, or TLS on it
	facts   flow.TLS
	attempt *cancel
}

// errSlow is the cause of a context that ends with the connect time-out.
var errSlow = errors.New("connection timeout")

// connect makes a connection the given way, TCP and TLS within the connect time-out.
func (c *Cluster) connect(ctx context.Context, spec *Spec, w *way, alpn []string) (*made, error) {
	bounded, expire := context.WithTimeoutCause(ctx, spec.connectTimeout(), errSlow)
	defer expire()
	running, stop := context.WithCancelCause(bounded)
	defer stop(nil)
	m := &made{attempt: &cancel{stop: stop}}
	if !c.live.add(m.attempt) {
		return nil, closed()
	}
	c.stats.CxTotal.Add(1)
	c.stats.CxActive.Add(1)
	err := c.makeGuarded(running, m, w, alpn)
	if err != nil {
		c.cxEnded()
		c.live.remove(m.attempt)
		return nil, c.failed(ctx, running, err)
	}
	return m, nil
}

func (m *made) make(ctx context.Context, dial DialFunc, w *way, alpn []string) error {
	var err error
	if m.raw, err = w.dial(ctx, dial); err != nil {
		return connectFailed(err)
	}
	m.conn = m.raw
	if w.socket.TLS == nil {
		return nil
	}
	tc, facts, err := w.socket.TLS.HandshakeALPN(ctx, http1.Beneath(m.raw), alpn)
	if err != nil {
		_ = m.raw.Close() // the handshake's error says it all
		return handshakeFailed(err)
	}
	m.conn, m.facts = tc, facts
	return nil
}

// dial makes the socket; an endpoint without an address is a unix socket.
func (w *way) dial(ctx context.Context, dial DialFunc) (net.Conn, error) {
	addr := w.endpoint.Addr()
	if path := w.endpoint.Spec().Name; !addr.IsValid() && path != "" {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return dial(ctx, w.source, addr, w.keepAlive)
}

// failed says why a connection could not be made: because the caller gave up, the
// cluster closed, time ran out, or for the reason in err. Only the last two are the
// upstream's.
func (c *Cluster) failed(caller, running context.Context, err error) error {
	switch {
	case caller.Err() != nil:
		return gaveUp(caller)
	case errors.Is(context.Cause(running), ErrClosed):
		return closed()
	}
	c.stats.CxConnectFail.Add(1)
	if running.Err() != nil || isTimeout(err) {
		c.stats.CxConnectTimeout.Add(1)
		return connectTimeout(err)
	}
	return err
}

// drop closes a connection that Close killed between its making and its use.
func (c *Cluster) drop(m *made) {
	_ = m.raw.Close() // nobody has used it
	c.cxEnded()
	c.live.remove(m.attempt)
}

// cxEnded counts the end of a connection or of the attempt to make it.
func (c *Cluster) cxEnded() {
	c.stats.CxActive.Add(-1)
	c.stats.CxDestroy.Add(1)
}

// DialFunc makes a TCP connection. A from that is not valid leaves the source to the
// system.
type DialFunc func(ctx context.Context, from netip.Addr, to netip.AddrPort, ka KeepAlive) (net.Conn, error)

// Dial makes a TCP connection with the system's sockets. A given source address is
// bound without a port, so that each upstream may use all ports of its own.
func Dial(ctx context.Context, from netip.Addr, to netip.AddrPort, ka KeepAlive) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, KeepAliveConfig: ka.config()}
	var local netip.AddrPort
	if from.IsValid() {
		d.ControlContext = bindWithoutPort
		local = netip.AddrPortFrom(from, 0)
	}
	tc, err := d.DialTCP(ctx, "tcp", local, to)
	if err != nil {
		return nil, err
	}
	return tc, nil // Go's sockets have TCP_NODELAY set
}

// config leaves what is not given to the system, which Go does for negative values.
func (ka KeepAlive) config() net.KeepAliveConfig {
	if !ka.Enabled {
		return net.KeepAliveConfig{}
	}
	orSystem := func(d time.Duration) time.Duration {
		if d <= 0 {
			return -1
		}
		return d
	}
	count := int(ka.Probes)
	if count == 0 {
		count = -1
	}
	return net.KeepAliveConfig{Enable: true, Idle: orSystem(ka.Time), Interval: orSystem(ka.Interval), Count: count}
}

// Reaches reports whether the endpoint takes connections: it makes one and closes it
// again, without counting it.
func (c *Cluster) Reaches(ctx context.Context, e *lb.Endpoint) bool {
	w := berthOf(c, e).way()
	if w == nil {
		return false
	}
	conn, err := w.dial(ctx, c.o.Dial)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was only to be had
	return true
}
