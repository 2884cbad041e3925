package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/sock"
)

// Conn is a downstream connection. Reading and writing goes through the TLS
// session where the chain ended one, else through the socket, bytes that the
// inspectors peeked first.
type Conn struct {
	net.Conn

	// Flow holds the facts; it is complete before a handler sees the connection.
	Flow *flow.Conn

	// owned by serve
	at     *Listener // which the connection came to, or was handed to
	sock   *socket
	chain  atomic.Pointer[Chain]
	cancel context.CancelCauseFunc
	begun  []byte // what was read of a TLS session to know what it speaks

	draining atomic.Bool

	// guarded by mu
	mu      sync.Mutex
	onDrain func()
	force   *time.Timer
}

// errClosed is why a connection's context ends with the connection.
var errClosed = errors.New("downstream connection was closed by the proxy")

// socket is an accepted connection together with the bytes peeked from it.
type socket struct {
	net.Conn
	quick  net.Conn // the same, below a TLS session
	prefix []byte
	held   *[]byte // the pooled buffer that prefix lies in
}

// Read hands out the peeked bytes first.
func (s *socket) Read(p []byte) (int, error) {
	if s.held == nil {
		return s.below().Read(p)
	}
	n := copy(p, s.prefix)
	s.prefix = s.prefix[n:]
	if len(s.prefix) == 0 {
		s.release()
	}
	if n == 0 && len(p) > 0 {
		return s.below().Read(p)
	}
	return n, nil
}

// Write sends bytes.
func (s *socket) Write(p []byte) (int, error) { return s.below().Write(p) }

// hasten makes reads and writes quick, which pays where a session makes many of
// them. It is for the goroutine that serves, before there are any.
func (s *socket) hasten() { s.quick = sock.Wrap(s.Conn) }

func (s *socket) below() net.Conn {
	if s.quick != nil {
		return s.quick
	}
	return s.Conn
}

// NetConn is what the socket reads from.
func (s *socket) NetConn() net.Conn { return s.below() }

// CloseWrite passes a half-close on.
func (s *socket) CloseWrite() error { return closeWrite(s.Conn) }

// release gives the peek buffer back.
func (s *socket) release() {
	if s.held != nil {
		putPeek(s.held)
		s.held, s.prefix = nil, nil
	}
}

// halfCloser is a connection whose sending half can be closed alone: a TCP socket,
// or a TLS session, where that sends close_notify.
type halfCloser interface{ CloseWrite() error }

func closeWrite(c net.Conn) error {
	if hc, ok := c.(halfCloser); ok {
		return hc.CloseWrite()
	}
	return c.Close()
}

// CloseWrite closes the sending half.
func (c *Conn) CloseWrite() error { return closeWrite(c.Conn) }

// NetConn is what the connection reads from: a TLS session or the socket.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// bare returns the socket where no TLS was ended on it, else nil. Two bare sockets
// can be spliced.
func (c *Conn) bare() *net.TCPConn {
	if c.Conn != net.Conn(c.sock) {
		return nil
	}
	tcp, _ := c.sock.Conn.(*net.TCPConn)
	return tcp
}

// peeked reports whether bytes that the inspectors read were not handed out yet.
// It is for the goroutine that reads.
func (c *Conn) peeked() bool { return c.sock.held != nil }

// Draining reports whether the connection should end after what it is doing.
func (c *Conn) Draining() bool { return c.draining.Load() }

// OnDrain registers what to do, on another goroutine, when the connection is asked
// to end. A connection that drains already calls f at once.
func (c *Conn) OnDrain(f func()) {
	c.mu.Lock()
	c.onDrain = f
	c.mu.Unlock()
	if f != nil && c.draining.Load() {
		f()
	}
}

// drain asks the connection to end, and makes it end after the grace period; a
// negative one means that somebody else watches the clock.
func (c *Conn) drain(grace time.Duration) {
	c.mu.Lock()
	first := !c.draining.Swap(true)
	f := c.onDrain
	if grace >= 0 && c.force == nil {
		c.force = time.AfterFunc(grace, c.abort)
	}
	c.mu.Unlock()
	if first && f != nil {
		f()
	}
}

// abort ends the connection now.
func (c *Conn) abort() {
	c.cancel(errClosed)
	_ = c.sock.Conn.Close()
}

// finish releases what the connection holds. The caller has left its handler.
func (c *Conn) finish() {
	c.mu.Lock()
	c.onDrain = nil
	if c.force != nil {
		c.force.Stop()
	}
	c.mu.Unlock()
	c.cancel(errClosed)
	_ = c.Conn.Close()
	if c.Conn != net.Conn(c.sock) {
		_ = c.sock.Conn.Close()
	}
	c.sock.release()
}

// addrPort reads the address of a TCP end without allocating.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
