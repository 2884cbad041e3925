package upstream

import (
	"context"
	"net"
	"net/netip"
	"time"
)

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
