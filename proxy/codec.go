package proxy

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/upstream"
)

// Codec says which HTTP version a chain speaks.
type Codec uint8

// The codec types of Envoy's connection manager.
const (
	// CodecAuto goes by ALPN, or else by the first bytes.
	CodecAuto Codec = iota
	CodecHTTP1
	CodecHTTP2
)

// The protocols as requests name them.
const (
	protocolHTTP10 = "HTTP/1.0"
	protocolHTTP11 = "HTTP/1.1"
	protocolHTTP2  = "HTTP/2"
)

// preface begins a connection of HTTP/2; it is as much of it as Envoy looks at.
const preface = "PRI * HTTP/2"

// drainSilence is how long a connection that drains may stay silent.
const drainSilence = time.Second

var errSilentEnd = errors.New("connection ended before it said anything")

// detectCodec finds out what the downstream speaks. What it read for that stays with
// the connection.
func (h *HTTP) detectCodec(c *Conn) (Codec, error) {
	if h.spec.Codec != CodecAuto {
		return h.spec.Codec, nil
	}
	if p := c.Flow.TLS.Protocol; p != "" {
		if upstream.SpeaksHTTP2(p) {
			return CodecHTTP2, nil
		}
		return CodecHTTP1, nil
	}
	nc, begun := c.take()
	for len(begun) < len(preface) {
		if !mayBePreface(begun) {
			return CodecHTTP1, nil
		}
		more, err := h.readMore(c, nc, begun)
		if err != nil {
			return 0, err
		}
		begun = more
	}
	if mayBePreface(begun) {
		return CodecHTTP2, nil
	}
	return CodecHTTP1, nil
}

// mayBePreface reports whether nothing speaks against the preface.
func mayBePreface(b []byte) bool {
	n := min(len(b), len(preface))
	return string(b[:n]) == preface[:n]
}

// readMore reads behind what has been peeked, waiting as long as for a request.
func (h *HTTP) readMore(c *Conn, nc net.Conn, begun []byte) ([]byte, error) {
	wait := h.spec.Timeouts.idle()
	if len(begun) > 0 {
		wait = progressBound
	} else if wait == 0 {
		wait = time.Hour
	}
	_ = nc.SetReadDeadline(time.Now().Add(wait)) // a closed connection fails in the read
	c.OnDrain(func() { _ = nc.SetReadDeadline(time.Now().Add(drainSilence)) })
	defer func() {
		c.OnDrain(nil)
		_ = nc.SetReadDeadline(time.Time{})
	}()
	if c.Conn != net.Conn(c.sock) { // a TLS session, whose bytes are not the socket's
		b := make([]byte, len(begun)+peekSize)
		n, err := nc.Read(b[copy(b, begun):])
		if n == 0 {
			return nil, errors.Join(errSilentEnd, err)
		}
		c.begun = b[:len(begun)+n]
		return c.begun, nil
	}
	return c.sock.peekMore()
}

// peekMore reads behind what has been peeked of a socket.
func (s *socket) peekMore() ([]byte, error) {
	if s.held == nil {
		held, n, err := firstBytes(s.Conn)
		if held == nil || n == 0 {
			return nil, errors.Join(errSilentEnd, err)
		}
		s.held, s.prefix = held, (*held)[:n]
		return s.prefix, nil
	}
	b := s.prefix
	if len(b) == cap(b) {
		b = slices.Grow(b, peekSize)
	}
	n, err := s.Conn.Read(b[len(b):cap(b)])
	if n == 0 {
		return nil, errors.Join(errSilentEnd, err)
	}
	s.prefix = b[:len(b)+n]
	return s.prefix, nil
}

// take returns what a codec reads from, and what was peeked of it, which the
// codec copies.
func (c *Conn) take() (net.Conn, []byte) {
	if c.Conn == net.Conn(c.sock) {
		return c.sock.Conn, c.sock.prefix
	}
	return c.Conn, c.begun
}
