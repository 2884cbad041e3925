package http2

import (
	"net"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// ClientOptions are an upstream connection's settings. Zero values are Envoy's
// defaults. The functions may be nil; they are called without locks and must not wait.
type ClientOptions struct {
	Settings

	// OnIdle is called when the last open stream was closed.
	OnIdle func()
	// OnSpace is called when a stream more can be opened where none could before.
	OnSpace func()
	// OnEnd is called once, when no new streams can be opened from now on: the
	// upstream said so (nil), or the connection has ended.
	OnEnd func(error)
}

// ClientConn is an upstream connection, for many exchanges at a time.
type ClientConn struct {
	conn net.Conn      // immutable
	o    ClientOptions // immutable
}

// NewClientConn starts the reader of a connection that was dialled.
func NewClientConn(conn net.Conn, o ClientOptions) *ClientConn {
	return &ClientConn{conn: conn, o: o}
}

// Open reserves a stream. The error is ErrFull or ErrGone.
func (c *ClientConn) Open() (*ClientStream, error) { return nil, ErrGone }

// Active is the number of open streams.
func (c *ClientConn) Active() int { return 0 }

// Available is the number of streams that can be opened now.
func (c *ClientConn) Available() int { return 0 }

// Drain opens no more streams, and closes the connection when the last one is done.
func (c *ClientConn) Drain() {}

// Close ends the connection, and joins its goroutines.
func (c *ClientConn) Close() error { return c.conn.Close() }

// ClientStream is one exchange on a connection. Request and response are valid until
// Close, after which it must not be touched.
type ClientStream struct{}

var _ httpmsg.RoundTripper = (*ClientStream)(nil)

// RoundTrip sends the request and returns the response's head, as
// http1.ClientConn.RoundTrip does. It can be called once.
func (s *ClientStream) RoundTrip(_ *httpmsg.Request, _ time.Time) (*httpmsg.Response, error) {
	return nil, ErrGone
}

// SetBodyDeadline bounds the reads of the response's body that follow; zero is none.
// It is for the goroutine that reads the body.
func (s *ClientStream) SetBodyDeadline(_ time.Time) {}

// Abort ends the exchange with err, and no other. It may be called from any
// goroutine, before Close.
func (s *ClientStream) Abort(_ error) {}

// Close ends the exchange: a stream that is not complete is reset.
func (s *ClientStream) Close() {}
