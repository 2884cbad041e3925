package http2

import (
	"errors"
	"io"
	"net"
	"strings"
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
	conn
	o ServerOptions // immutable
	h httpmsg.Handler

	next *exchange // owned by the reader: the one whose head is being read

	// guarded by mu
	open    int // streams that are not closed
	crew    crew
	parting parting
	idleAt  int64 // when the connection became idle; 0 is it is not
}

// NewServerConn prepares a connection that was accepted.
func NewServerConn(nc net.Conn, o ServerOptions) *ServerConn {
	c := &ServerConn{o: o}
	c.server, c.streamIdle = true, o.StreamIdleTimeout
	c.init(nc, &o.Settings, o.Initial, c)
	c.o.Initial = nil
	if c.o.IdleTimeout <= 0 {
		c.o.IdleTimeout = DefaultIdleTimeout
	}
	c.peer.maxStreams = 0 // a server opens none
	c.crew.init(c)
	c.clock.check = c.look
	return c
}

// Serve reads requests and has each answered by h on a goroutine of its own, until
// the connection has ended and all of them have returned. It closes the connection. The
// error says why, where it was not by agreement.
func (c *ServerConn) Serve(h httpmsg.Handler) error {
	c.h = h
	c.mu.Lock()
	c.idleAt = c.since(time.Now())
	c.append(2, c.hello)
	c.out.urgent = true
	c.greetedLocked()
	c.clock.arm(c.look(c.idleAt))
	c.mu.Unlock()
	err := c.greet()
	if err == nil {
		err = c.read()
	}
	c.finish(err, c.crew.dismiss)
	if errors.Is(err, io.EOF) || errors.Is(err, errIdle) || errors.Is(err, errDrained) {
		return nil
	}
	return err
}

// greet reads the preface, and sees that SETTINGS follow (RFC 9113 section 3.4).
func (c *ServerConn) greet() error {
	b, err := c.in.peek(len(preface))
	if err != nil {
		if have := c.in.buf[c.in.r:c.in.w]; len(have) > 0 && !strings.HasPrefix(preface, string(have)) {
			return connError(codeProtocol, detailProtocol)
		}
		return c.why(err)
	}
	if string(b) != preface {
		return connError(codeProtocol, detailProtocol)
	}
	c.in.skip(len(preface))
	return c.firstSettings()
}

// openHead begins a request or its trailers.
func (c *ServerConn) openHead(id uint32, end bool) error {
	if id&1 == 0 {
		return connError(codeProtocol, detailProtocol)
	}
	if id > c.highest() {
		return c.openRequest(id, end)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	switch {
	case (s == nil || s.left) && !c.resets.has(id):
		return connError(codeStreamClosed, detailProtocol)
	case s == nil || s.reset:
		c.head.open(id, end, blockIgnored, nil)
	case s.in.ended:
		c.head.open(id, end, blockIgnored, nil)
		c.spoil(s, codeStreamClosed, detailProtocol)
	default:
		c.head.open(id, end, blockTrailer, &c.spare)
		if !end {
			c.head.refuse(violation(detailMessage))
		}
	}
	return nil
}

func (c *ServerConn) highest() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastID
}

// openRequest makes room for a request, or has it refused.
func (c *ServerConn) openRequest(id uint32, end bool) error {
	c.mu.Lock()
	c.lastID = id
	switch {
	case c.goneAway:
		c.mu.Unlock()
		c.head.open(id, end, blockIgnored, nil) // RFC 9113 section 6.8
		return nil
	case c.open >= int(c.set.MaxConcurrentStreams):
		c.resets.add(id)
		c.control(func(b []byte) []byte { return appendReset(b, id, codeRefusedStream) })
		c.mu.Unlock()
		c.head.open(id, end, blockIgnored, nil)
		return nil
	}
	c.mu.Unlock()
	if c.next == nil {
		c.next = exchanges.Get().(*exchange) //nolint:forcetypeassert // the pool holds nothing else
	}
	c.next.begin(c)
	c.next.id, c.next.born = id, c.seenNow()
	c.head.open(id, end, blockRequest, &c.next.req.Header)
	return nil
}

// closeHead serves a request, or ends one.
func (c *ServerConn) closeHead() error {
	h := &c.head
	switch h.block {
	case blockRequest:
		if h.err == nil {
			h.request(c, &c.next.req)
		}
		return c.admit()
	case blockTrailer:
		c.mu.Lock()
		defer c.mu.Unlock()
		s := c.streams[h.id]
		if s == nil || s.reset {
			return nil
		}
		if h.err != nil {
			c.spoil(s, h.err.Code, h.err.Details)
			return nil
		}
		swap(&s.kin.(*exchange).trailer, &c.spare) //nolint:forcetypeassert // a server has no others
		c.endInputOf(s)
	case blockIgnored, blockResponse:
	}
	return nil
}

// admit has the request served whose head is complete.
func (c *ServerConn) admit() error {
	h, x := &c.head, c.next
	if h.err != nil {
		if c.o.Reject != nil {
			c.o.Reject(h.err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.window.opened++
		if h.err.Status != 0 {
			c.replyLocked(x)
			return nil
		}
		c.countReset(&x.stream)
		c.resets.add(h.id)
		c.control(func(b []byte) []byte { return appendReset(b, h.id, h.err.Code) })
		return nil
	}
	c.next = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	x.ready(h)
	c.streams[h.id] = &x.stream
	x.window = c.peer.window
	c.open++
	c.idleAt = 0
	c.window.opened++
	if h.expect && !h.end {
		c.beginHead()
		c.out.buf = c.enc.appendStatus(c.out.buf, 100)
		c.endHead(x.id, false)
		c.answered()
	}
	c.crew.serve(x)
	return nil
}

// replyLocked answers a request that is refused with a status.
func (c *ServerConn) replyLocked(x *exchange) {
	h := &c.head
	c.beginHead()
	c.out.buf = c.enc.appendStatus(c.out.buf, h.err.Status)
	c.endHead(x.id, true)
	c.answered()
	if !h.end {
		c.resets.add(h.id)
		c.control(func(b []byte) []byte { return appendReset(b, h.id, codeNo) })
	}
}

func (c *ServerConn) answersExpect() bool { return !c.o.Proxy100Continue }

// onGoAway is told that the downstream opens no more streams: it will close.
func (c *ServerConn) onGoAway(uint32, uint32) error { return nil }

// look is called by the clock, and returns when it is to be called again.
func (c *ServerConn) look(now int64) int64 {
	if c.ending {
		return 0
	}
	next := c.keepAlive(now)
	if l := c.headLimit; l != 0 && now >= l {
		c.stopLocked(connError(codeEnhanceYourCalm, "request_header_timeout"))
	} else {
		next = earliest(next, l)
	}
	next = earliest(next, c.crew.look(now))
	next = earliest(next, c.partLocked(now))
	if c.idleAt != 0 {
		end := c.idleAt + int64(c.o.IdleTimeout)
		if now >= end {
			c.stopLocked(errIdle)
			return 0
		}
		next = earliest(next, end)
	}
	return next
}
