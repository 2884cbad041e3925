package http2

import (
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// stream is one exchange, as far as both sides have it in common. Streams are used
// again: whoever comes from the connection looks it up by number under the lock.
type stream struct {
	// immutable while open
	c    *conn
	id   uint32 // 0 until the head is sent, on our own streams
	born int64

	recv, send bell

	// what follows is guarded by the connection's lock
	in     inbox
	window int64 // what the peer lets us send
	sent   struct {
		head, end bool
	}
	reset     bool  // RST_STREAM was sent or received
	left      bool  // it was received: nothing may follow
	closed    bool  // no longer counted
	err       error // what the stream failed with
	recvLimit int64 // until when recv is awaited, 0 is not or for ever
	sendLimit int64
	queued    bool  // among the waiters
	until     int64 // when sending ends at the latest; 0 is no bound
	relayed   bool  // a tunnel, which has a clock of its own

	gone    func() // told when the stream fails, while watched
	calling bool

	kin kin
}

// kin is what the side makes of its streams.
type kin interface {
	// mayHaveBody reports whether content may come now.
	mayHaveBody() bool
	// freeLocked is called once, when neither end sends any more.
	freeLocked()
	// lost makes the error of a stream whose connection ended.
	lost(err error) error
}

func (s *stream) mayHaveBody() bool    { return s.kin.mayHaveBody() }
func (s *stream) lost(err error) error { return s.kin.lost(err) }

// resetBy makes the error of a stream that the peer reset.
func (s *stream) resetBy(code uint32) error {
	if s.c.server {
		return downstreamReset(code)
	}
	return upstreamReset(code)
}

// violated makes the error of a stream whose peer broke a rule.
func (s *stream) violated(details string) error {
	if s.c.server {
		return downstreamViolation(details)
	}
	return upstreamViolation(details)
}

// late makes the error of a stream that waited for too long.
func (s *stream) late() error {
	if s.c.server {
		return downstreamIdle()
	}
	return upstreamTimeout()
}

// begin readies a stream for its next use.
func (s *stream) begin(c *conn) {
	s.c, s.id = c, 0
	s.in = inbox{announced: httpmsg.Unknown, offered: int64(c.set.InitialStreamWindow)}
	s.window = 0
	s.sent.head, s.sent.end = false, false
	s.reset, s.left, s.closed, s.err = false, false, false, nil
	s.recvLimit, s.sendLimit, s.until, s.queued, s.relayed = 0, 0, 0, false, false
	s.gone, s.calling = nil, false
	s.recv.mute()
	s.send.mute()
}

// complete reports whether both ends have sent all.
func (s *stream) complete() bool { return s.in.ended && s.sent.end }

// over reports whether an upstream speaks on a stream that has ended on both sides
// without a reset, for which RFC 9113 section 5.1 wants the connection's end. To a
// downstream our side may have ended just now.
func (s *stream) over() bool { return !s.c.server && !s.reset && s.complete() }

// endInputLocked notes that no more content comes.
func (s *stream) endInputLocked() {
	s.in.ended = true
	s.recv.ring()
	if s.sent.end {
		s.closedLocked()
	}
}

// endOutputLocked notes that we send no more.
func (s *stream) endOutputLocked() {
	s.sent.end = true
	if s.in.ended {
		s.closedLocked()
	}
}

func (s *stream) closedLocked() {
	if !s.closed {
		s.closed = true
		s.kin.freeLocked()
	}
}

// failLocked ends both directions with err. It is for the reader.
func (s *stream) failLocked(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	if s.gone != nil && !s.calling {
		s.calling = true
		s.c.left = append(s.c.left, s)
	}
	s.recv.ring()
	s.send.ring()
}

// wakeSenders lets those look again who wait for the connection. The caller holds the
// lock.
func (c *conn) wakeSenders() {
	for i, s := range c.waiters {
		s.queued = false
		s.send.ring()
		c.waiters[i] = nil
	}
	c.waiters = c.waiters[:0]
}

// forgetLocked takes a stream out of all lists.
func (c *conn) forgetLocked(s *stream) {
	if s.id != 0 && c.streams[s.id] == s {
		delete(c.streams, s.id)
	}
	c.window.held -= int64(s.in.pending)
	s.in.pending = 0
	if !s.queued {
		return
	}
	s.queued = false
	for i, w := range c.waiters {
		if w == s {
			last := len(c.waiters) - 1
			c.waiters[i] = c.waiters[last]
			c.waiters[last] = nil
			c.waiters = c.waiters[:last]
			return
		}
	}
}

// allowance is how much content may be sent now. The caller holds the lock.
func (s *stream) allowance() int {
	c := s.c
	if c.out.full() {
		return 0
	}
	return int(max(0, min(s.window, c.window.send, outputLimit)))
}

// appendData appends as much of p as the windows allow, with END_STREAM if that is
// all of it and end is set, and returns how much. The caller holds the lock.
func (s *stream) appendData(p []byte, end bool) int {
	c := s.c
	allowed := min(s.allowance(), len(p))
	done := 0
	for done < allowed || end && len(p) == 0 {
		n := min(allowed-done, c.peer.frameSize, minFrameSize)
		flags := byte(0)
		if end && done+n == len(p) {
			flags = flagEndStream
		}
		c.out.room(frameHeadLen + n)
		before := len(c.out.buf)
		c.out.buf = appendFrame(c.out.buf, n, frameData, flags, s.id)
		c.out.buf = append(c.out.buf, p[done:done+n]...)
		c.out.grew(before, 1)
		c.window.dataOut++
		done += n
		if flags != 0 {
			s.endOutputLocked()
			break
		}
	}
	s.window -= int64(done)
	c.window.send -= int64(done)
	return done
}

// appendPiece appends all of p, the rest of piece, without a copy where that pays and
// the windows allow it. It reports whether it did; the piece is the output's then.
// The caller holds the lock.
func (s *stream) appendPiece(p []byte, piece httpmsg.Piece, end bool) bool {
	c := s.c
	if c.w.raw == nil || len(p) < minLent/2 || len(p) > min(c.peer.frameSize, minFrameSize) || len(p) > s.allowance() {
		return false
	}
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	c.out.room(frameHeadLen)
	before := len(c.out.buf)
	c.out.buf = appendFrame(c.out.buf, len(p), frameData, flags, s.id)
	c.out.grew(before, 1)
	c.out.add(p, piece)
	c.window.dataOut++
	s.window -= int64(len(p))
	c.window.send -= int64(len(p))
	if end {
		s.endOutputLocked()
	}
	return true
}

// failedLocked is why the stream cannot send.
func (s *stream) failedLocked() error {
	switch {
	case s.err != nil:
		return s.err
	case s.c.broken:
		return s.lost(s.c.cause)
	case s.reset:
		return s.resetBy(codeCancel)
	case s.sent.end:
		return errHalfClosed
	default:
		return nil
	}
}

func (s *stream) failed() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.failedLocked()
}

// transmit sends p as DATA, and waits for windows and room. What is sent is written
// at the next flush.
func (s *stream) transmit(p []byte, end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var limit int64
	for {
		if err := s.failedLocked(); err != nil {
			return err
		}
		n := s.appendData(p, end)
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		if n > 0 {
			limit = 0
			continue
		}
		var err error
		if limit, err = s.awaitSend(limit); err != nil {
			return err
		}
	}
}

// idleBound is how long each wait for the peer may take; 0 is for ever. The relay of a
// tunnel has a clock of its own. The caller holds the lock.
func (s *stream) idleBound() time.Duration {
	if s.relayed {
		return 0
	}
	return s.c.streamIdle
}

// sendBound returns when a wait to send has to end, given what it returned before for
// the same wait; 0 is not at all. It fails when that time has come.
func (s *stream) sendBound(limit int64) (int64, error) {
	c := s.c
	switch {
	case s.until == 0 && s.idleBound() <= 0:
		return 0, nil
	case s.until == 0 && limit == 0:
		return c.since(time.Now().Add(s.idleBound())), nil
	case s.until != 0:
		limit = s.until
	}
	if c.since(time.Now()) >= limit {
		return 0, s.late()
	}
	return limit, nil
}

// waitSend parks until more can be sent, at most until limit. The caller holds the
// lock. What was appended is written first.
func (s *stream) waitSend(limit int64) {
	c := s.c
	if !s.queued {
		s.queued = true
		c.waiters = append(c.waiters, s)
	}
	s.sendLimit = limit
	c.clock.arm(limit)
	c.mu.Unlock()
	c.flush()
	s.send.wait()
	c.mu.Lock()
	s.sendLimit = 0
}

// awaitSend is waitSend for a stream that can still send, as long as sendBound allows;
// it takes and returns that function's limit. The caller holds the lock.
func (s *stream) awaitSend(limit int64) (int64, error) {
	if err := s.failedLocked(); err != nil {
		return 0, err
	}
	limit, err := s.sendBound(limit)
	if err == nil {
		s.waitSend(limit)
	}
	return limit, err
}

// headRoom waits, as content does, until a head may be appended: heads are not under
// flow control, but must not pile up before a peer that does not read. The caller
// holds the lock.
func (s *stream) headRoom() error {
	var limit int64
	for s.c.out.full() {
		var err error
		if limit, err = s.awaitSend(limit); err != nil {
			return err
		}
	}
	return s.failedLocked()
}
