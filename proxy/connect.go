package proxy

import (
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

const (
	connectMethod = "CONNECT"
	connectToken  = "connect" // as an upgrade
)

// tunnels reports whether the request asks for a stream of bytes.
func (x *Exchange) tunnels() bool {
	return x.Request.Upgrade != "" || x.Request.Method == connectMethod
}

// terminate makes the TCP connection that a CONNECT which ends here asks for, and
// accepts: Envoy answers 200 by itself.
func (x *Exchange) terminate(c *upstream.Cluster, ep *lb.Endpoint) error {
	conn, err := c.Dial(x.Context(), ep, nil)
	if err != nil {
		if why := x.ended(); why != nil {
			return why
		}
		return err
	}
	if err := x.lendTCP(conn); err != nil {
		return err
	}
	up := &x.Record.Upstream
	up.Local = conn.Local()
	if conn.TLS.Established {
		up.TLS, up.Peer = true, &conn.TLS.Peer
	}
	x.Response = &httpmsg.Response{Status: 200, Body: httpmsg.NoBody, ContentLength: httpmsg.Unknown, Tunnel: conn}
	return nil
}

// lendTCP is lend for a connection.
func (x *Exchange) lendTCP(conn *upstream.Conn) error {
	x.trip.tcp = conn
	x.leave.mu.Lock()
	defer x.leave.mu.Unlock()
	x.leave.tcp = conn
	return x.leave.cause
}

// closeTCP ends the connection of a CONNECT that ended here.
func (x *Exchange) closeTCP() {
	conn := x.trip.tcp
	if conn == nil {
		return
	}
	x.leave.mu.Lock()
	x.leave.tcp = nil
	x.leave.mu.Unlock()
	x.trip.tcp = nil
	conn.Done()
}

// interruptTCP ends whatever waits on a connection, without waiting itself.
func interruptTCP(conn *upstream.Conn) { _ = conn.SetDeadline(time.Unix(1, 0)) }
