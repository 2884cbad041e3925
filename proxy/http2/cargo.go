package http2

import (
	"errors"
	"io"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// cargo is a body on its way out.
type cargo struct {
	from    httpmsg.Body
	length  int64           // announced, or httpmsg.Unknown
	trailer *httpmsg.Header // sent behind the body, where it has fields
	// head appends the head, with END_STREAM if end is set, under the lock; nil once
	// done.
	head func(end bool) error

	buf  []byte
	sent int64
	// readErr is what ended the body, if not its end; sendErr why the stream could not
	// take it. At most one of them is set.
	readErr, sendErr error
}

// run sends head, body and trailers: what is there in one go, the rest as it comes.
func (g *cargo) run(s *stream) {
	size := buffer.Medium
	if g.length >= 0 && g.length <= buffer.Tiny {
		size = buffer.Tiny
	}
	g.buf = buffer.Get(size)
	defer func() { buffer.Put(g.buf) }()
	n, eof := 0, false
	for !eof && g.readErr == nil && g.sendErr == nil {
		awaited := g.from.Buffered() == 0
		if awaited || n == len(g.buf) {
			g.pass(s, n, false)
			n = 0
			if awaited {
				s.c.flush()
			}
			if g.sendErr != nil || g.runPieces(s) {
				return
			}
			if !awaited {
				g.enlarge()
			}
		}
		d, err := g.from.Read(g.buf[n:])
		n += d
		n -= g.account(d, err)
		eof = errors.Is(err, io.EOF)
	}
	g.pass(s, n, g.readErr == nil)
	s.c.flush()
}

// account notes that n bytes were read, and err with them. It returns how many of
// them are too many.
func (g *cargo) account(n int, err error) int {
	g.sent += int64(n)
	switch {
	case g.length >= 0 && g.sent > g.length:
		over := int(min(int64(n), g.sent-g.length))
		g.sent = g.length
		g.readErr = errExcess
		return over
	case errors.Is(err, io.EOF):
		if g.length >= 0 && g.sent < g.length {
			g.readErr = errShort
		}
	case err != nil:
		g.readErr = err
	}
	return 0
}

// runPieces is run for the rest of a body of which much has come, and reports whether
// that was possible.
func (g *cargo) runPieces(s *stream) bool {
	if g.sent < buffer.Medium || g.length >= 0 && g.length-g.sent < buffer.Medium || s.c.w.raw == nil {
		return false
	}
	from := httpmsg.Pieces(g.from)
	if from == nil {
		return false
	}
	for last := false; !last && g.readErr == nil && g.sendErr == nil; {
		if g.from.Buffered() == 0 {
			s.c.flush()
			if g.sendErr = s.failed(); g.sendErr != nil {
				return true
			}
		}
		piece, err := from.ReadPiece()
		var p []byte
		if piece != nil {
			p = piece.Bytes()
		}
		p = p[:len(p)-g.account(len(p), err)]
		last = errors.Is(err, io.EOF)
		g.passPiece(s, p, piece, last && g.readErr == nil)
	}
	s.c.flush()
	return true
}

// passPiece sends p, what is wanted of a piece, and sees that the piece is freed.
func (g *cargo) passPiece(s *stream, p []byte, piece httpmsg.Piece, last bool) {
	trailers := last && g.trailer != nil && g.trailer.Len() > 0
	end := last && !trailers
	if len(p) > 0 || end {
		s.c.mu.Lock()
		taken := piece != nil && s.failedLocked() == nil && s.appendPiece(p, piece, end)
		s.c.mu.Unlock()
		if taken {
			piece = nil
		} else {
			g.sendErr = s.transmit(p, end)
		}
	}
	if piece != nil {
		piece.Free()
	}
	if trailers && g.sendErr == nil {
		g.sendErr = s.sendTrailers(g.trailer)
	}
}

// enlarge takes a larger buffer for a body of which much is to come.
func (g *cargo) enlarge() {
	if len(g.buf) < buffer.Large && (g.length < 0 || g.length-g.sent > int64(len(g.buf))) {
		n := len(g.buf) + 1
		buffer.Put(g.buf)
		g.buf = buffer.Get(n)
	}
}

// pass sends the first n bytes of the buffer, after the head where that was not sent
// yet.
func (g *cargo) pass(s *stream, n int, last bool) {
	if g.sendErr != nil {
		return
	}
	c := s.c
	trailers := last && g.trailer != nil && g.trailer.Len() > 0
	p, end := g.buf[:n], last && !trailers
	c.mu.Lock()
	if g.head != nil {
		bare := end && n == 0
		if g.sendErr = g.head(bare); g.sendErr != nil {
			c.mu.Unlock()
			return
		}
		g.head = nil
		if bare {
			c.mu.Unlock()
			return
		}
	}
	if s.failedLocked() == nil { // else transmit says why
		p = p[s.appendData(p, end):]
	}
	done := len(p) == 0 && s.failedLocked() == nil || s.sent.end
	c.mu.Unlock()
	if !done {
		if len(p) == 0 && !end {
			g.sendErr = s.failed()
		} else {
			g.sendErr = s.transmit(p, end)
		}
	}
	if trailers && g.sendErr == nil {
		g.sendErr = s.sendTrailers(g.trailer)
	}
}

// sendTrailers ends the stream with fields.
func (s *stream) sendTrailers(h *httpmsg.Header) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.failedLocked(); err != nil {
		return err
	}
	c.beginHead()
	c.appendFields(h, httpmsg.Unknown)
	c.endHead(s.id, true)
	s.endOutputLocked()
	return nil
}
