package http2

import (
	"io"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// inbox holds the content of a stream that waits to be read. It is guarded by the
// connection's lock.
type inbox struct {
	first, last *chunk
	size        int
	pending     int // announced by a frame's head, and not here yet

	announced int64 // content-length, or -1
	total     int64 // content so far
	read      int64 // of it, by whoever consumes
	offered   int64 // what the peer may still send
	credit    int64 // consumed, and not given back yet

	ended       bool // END_STREAM has come
	closed      bool // nobody will read
	interrupted bool
}

// put takes p, which k holds a copy of where it is large.
func (in *inbox) put(p []byte, k *chunk) {
	in.size += len(p)
	if k == nil {
		if t := in.last; t != nil && len(t.b)-t.w >= len(p) {
			t.w += copy(t.b[t.w:], p)
			return
		}
		k = newChunk(p)
	}
	if in.last == nil {
		in.first = k
	} else {
		in.last.next = k
	}
	in.last = k
}

// pop takes the first chunk out of the list.
func (in *inbox) pop() *chunk {
	k := in.first
	if in.first = k.next; in.first == nil {
		in.last = nil
	}
	k.next = nil
	return k
}

// unpop puts it back.
func (in *inbox) unpop(k *chunk) {
	k.next = in.first
	in.first = k
	if in.last == nil {
		in.last = k
	}
}

// drop gives up what waits, and returns how much that was.
func (in *inbox) drop() int {
	n := in.size
	for in.first != nil {
		in.pop().free()
	}
	in.size = 0
	return n
}

// take copies as much as there is. The caller holds the lock, which is let go for
// large copies: a chunk that was popped belongs to the reader.
func (s *stream) take(p []byte) int {
	n := 0
	for n < len(p) && s.in.first != nil {
		k := s.in.pop()
		large := k.w-k.r > buffer.Tiny
		if large {
			s.c.mu.Unlock()
		}
		d := copy(p[n:], k.b[k.r:k.w])
		k.r += d
		if large {
			s.c.mu.Lock()
		}
		n += d
		if k.r == k.w {
			k.free()
			continue
		}
		if s.in.closed {
			k.free()
			continue
		}
		s.in.unpop(k)
	}
	if s.in.closed {
		return n // was accounted for by who closed
	}
	s.in.size -= n
	return n
}

// consumed gives the peer its windows back, and reports whether that is to be written.
// The caller holds the lock.
func (s *stream) consumed(n int) bool {
	c, in := s.c, &s.in
	c.window.held -= int64(n)
	said := c.credit()
	in.credit += int64(n)
	if in.ended || s.reset || s.err != nil || in.credit < int64(c.set.InitialStreamWindow)/2 {
		return said
	}
	more := in.credit
	in.offered += more
	in.credit = 0
	c.append(1, func(b []byte) []byte { return appendWindowUpdate(b, s.id, uint32(more)) }) //nolint:gosec // a window
	return true
}

// credit offers the peer more of the connection's window: content is credited when it
// comes, so that one stream whose reader has stopped does not hold up the others,
// unless more than the connection's window and one stream's wait in all.
func (c *conn) credit() bool {
	size := int64(c.set.InitialConnWindow)
	w := &c.window
	allowed := min(size, size+int64(c.set.InitialStreamWindow)-w.held)
	more := allowed - w.offered
	if more < size/2 && (more < minFrameSize || w.offered > size/8) {
		return false
	}
	w.offered += more
	c.append(1, func(b []byte) []byte { return appendWindowUpdate(b, 0, uint32(more)) }) //nolint:gosec // a window
	return true
}

// receive is Read of a body: it waits for content, at most as long as streams may
// idle or until limit, a time on the connection's clock.
func (s *stream) receive(p []byte, limit int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.content(limit); err != nil {
		return 0, err
	}
	n := s.take(p)
	return n, s.took(n)
}

// receivePiece is receive for who takes content as it lies.
func (s *stream) receivePiece(limit int64) (httpmsg.Piece, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.content(limit); err != nil {
		return nil, err
	}
	k := s.in.pop()
	n := k.w - k.r
	s.in.size -= n
	return k, s.took(n)
}

// content waits until there is some. The caller holds the lock.
func (s *stream) content(limit int64) error {
	c := s.c
	idle := limit == 0 && s.idleBound() > 0
	for {
		switch {
		case s.in.closed:
			return errBodyClosed
		case s.in.interrupted:
			return errInterrupted
		case s.in.first != nil:
			return nil
		case s.in.ended && s.err == nil:
			return io.EOF
		case s.err != nil:
			return s.err
		}
		if idle {
			limit = c.since(time.Now().Add(s.idleBound()))
			idle = false
		} else if limit > 0 && c.since(time.Now()) >= limit {
			return s.late()
		}
		s.waitRecv(limit)
	}
}

// took accounts for n bytes that were read, and returns io.EOF if they were the last.
// The caller holds the lock.
func (s *stream) took(n int) error {
	c := s.c
	s.in.read += int64(n)
	if !s.in.closed && s.consumed(n) {
		c.mu.Unlock()
		c.flush()
		c.mu.Lock()
	}
	if s.in.first == nil && s.in.ended {
		return io.EOF
	}
	return nil
}

// waitRecv parks until something was received, at most until limit. The caller holds
// the lock.
func (s *stream) waitRecv(limit int64) {
	s.recvLimit = limit
	s.c.clock.arm(limit)
	s.c.mu.Unlock()
	s.recv.wait()
	s.c.mu.Lock()
	s.recvLimit = 0
}

// buffered is Buffered of a body.
func (s *stream) buffered() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch {
	case s.in.size > 0:
		return s.in.size
	case s.in.ended && s.err == nil:
		return -1
	default:
		return 0
	}
}

// closeInput gives up the content.
func (s *stream) closeInput() {
	c := s.c
	c.mu.Lock()
	said := s.closeInputLocked()
	c.mu.Unlock()
	if said {
		c.flush()
	}
}

func (s *stream) closeInputLocked() bool {
	if s.in.closed {
		return false
	}
	s.in.closed = true
	size := s.in.size
	s.in.drop()
	s.recv.ring()
	return s.consumed(size)
}

// interrupt ends a read that waits, and fails others until resume.
func (s *stream) interrupt(on bool) {
	s.c.mu.Lock()
	s.in.interrupted = on
	if on {
		s.recv.ring()
	}
	s.c.mu.Unlock()
}
