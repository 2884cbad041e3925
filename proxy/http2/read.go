package http2

import (
	"encoding/binary"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
)

// inbound counts what the peer sends that may be a flood. It belongs to the reader.
type inbound struct {
	empty      int // frames in a row without content
	priorities int64
	settings   int64
	updates    int64
	premature  int64
	lend       bool  // little content waits: more may be passed on as it lies
	now        int64 // when the bytes came that the reader works on; 0 is not known
}

// readFrame handles one frame. The Framer reads its head and, of the rare frames, the
// payload; content goes straight to its stream, and heads to the decoder.
func (c *conn) readFrame() error {
	if c.in.avail() == 0 {
		c.seen.now = 0
	}
	fh, err := c.fr.ReadFrameHeader()
	if err != nil {
		return err
	}
	if c.stopping.Load() {
		return errClosed // read knows why
	}
	err = c.handle(fh)
	if len(c.left) > 0 {
		c.tellLeft()
	}
	return err
}

// handle reads a frame's payload and does what it says.
func (c *conn) handle(fh xhttp2.FrameHeader) error {
	n := int(fh.Length)
	switch fh.Type {
	case xhttp2.FrameData:
		return c.readData(fh.StreamID, n, byte(fh.Flags))
	case xhttp2.FrameHeaders:
		return c.readHeaders(fh.StreamID, n, byte(fh.Flags))
	case xhttp2.FrameContinuation:
		return c.readContinuation(n, byte(fh.Flags))
	case xhttp2.FrameWindowUpdate:
		return c.readWindowUpdate(fh.StreamID, n)
	case xhttp2.FrameRSTStream:
		return c.readReset(fh.StreamID, n)
	default:
	}
	f, err := c.fr.ReadFrameForHeader(fh)
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *xhttp2.SettingsFrame:
		return c.onSettings(f)
	case *xhttp2.PingFrame:
		return c.onPing(f)
	case *xhttp2.GoAwayFrame:
		return c.side.onGoAway(f.LastStreamID, uint32(f.ErrCode))
	case *xhttp2.PriorityFrame:
		return c.onPriority(f)
	case *xhttp2.PushPromiseFrame:
		return connError(codeProtocol, detailProtocol)
	}
	return nil // RFC 9113 section 4.1: unknown types are ignored
}

// unknown reports an identifier that no stream has had: one is idle, or not odd.
func (c *conn) unknown(id uint32) bool { return id&1 == 0 || id > c.lastID }

// empty bounds frames that carry nothing and end nothing.
func (c *conn) empty(n int, ends bool) error {
	if n > 0 || ends {
		c.seen.empty = 0
		return nil
	}
	if c.seen.empty++; c.seen.empty > c.set.Floods.EmptyFrames {
		return connError(codeEnhanceYourCalm, detailEmpty)
	}
	return nil
}

// readData passes content on as it arrives.
func (c *conn) readData(id uint32, n int, flags byte) error {
	pad, length := 0, n
	if flags&flagPadded != 0 {
		if n == 0 {
			return connError(codeFrameSize, detailProtocol)
		}
		b, err := c.in.peek(1)
		if err != nil {
			return err
		}
		pad = int(b[0])
		if pad >= n {
			return connError(codeProtocol, detailProtocol)
		}
		c.in.skip(1)
		length = n - 1 - pad
	}
	end := flags&flagEndStream != 0
	if err := c.empty(length, end); err != nil {
		return err
	}
	if err := c.admitData(id, n, length); err != nil {
		return err
	}
	for left := length; left > 0; {
		b, err := c.in.some(left)
		if err != nil {
			return err
		}
		c.deliver(id, b)
		c.in.skip(len(b))
		left -= len(b)
	}
	for left := pad; left > 0; {
		b, err := c.in.some(left)
		if err != nil {
			return err
		}
		c.in.skip(len(b))
		left -= len(b)
	}
	if end {
		c.endInput(id)
	}
	return nil
}

// admitData accounts for a DATA frame before its content comes. Errors of the stream
// are dealt with: its content finds nobody.
func (c *conn) admitData(id uint32, n, length int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unknown(id) {
		return connError(codeProtocol, detailProtocol) // idle
	}
	w := &c.window
	if w.offered -= int64(n); w.offered < 0 {
		return connError(codeFlowControl, detailProtocol)
	}
	s := c.streams[id]
	switch {
	case s == nil && !c.server && !c.resets.has(id), s != nil && s.over():
		return connError(codeStreamClosed, detailProtocol)
	case s == nil || s.reset:
		c.out.urgent = c.credit() || c.out.urgent
		if (s == nil || s.left) && !c.resets.has(id) {
			c.resets.add(id)
			c.control(func(b []byte) []byte { return appendReset(b, id, codeStreamClosed) })
		}
		return nil
	case s.in.ended:
		c.out.urgent = c.credit() || c.out.urgent
		c.spoil(s, codeStreamClosed, detailProtocol)
		return nil
	case !s.mayHaveBody():
		c.out.urgent = c.credit() || c.out.urgent
		c.spoil(s, codeProtocol, detailMessage)
		return nil
	}
	if s.in.offered -= int64(n); s.in.offered < 0 {
		c.out.urgent = c.credit() || c.out.urgent
		c.spoil(s, codeFlowControl, detailProtocol)
		return nil
	}
	s.in.total += int64(length)
	if s.in.announced >= 0 && s.in.total > s.in.announced {
		c.out.urgent = c.credit() || c.out.urgent
		c.spoil(s, codeProtocol, detailMessage)
		return nil
	}
	w.held += int64(length)
	c.seen.lend = w.held <= int64(c.set.InitialConnWindow)/lentShare
	c.out.urgent = c.credit() || c.out.urgent
	s.in.pending += length
	s.in.credit += int64(n - length)
	return nil
}

// deliver puts content into its stream's buffer. Only a stream that was open when the
// frame began takes any.
func (c *conn) deliver(id uint32, p []byte) {
	var k *chunk
	switch {
	case c.seen.lend && c.in.lends(p):
		k = c.in.of.lend(p)
	case len(p) > buffer.Medium/2:
		k = newChunk(p) // copies outside of the lock; smaller pieces share chunks
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	if s == nil || s.in.pending < len(p) {
		if k != nil {
			k.free()
		}
		return
	}
	s.in.pending -= len(p)
	if s.in.closed || s.err != nil {
		c.out.urgent = s.consumed(len(p)) || c.out.urgent
		if k != nil {
			k.free()
		}
		return
	}
	s.in.put(p, k)
	s.recv.ring()
}

// endInput handles END_STREAM.
func (c *conn) endInput(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[id]; s != nil {
		c.endInputOf(s)
	}
}

func (c *conn) endInputOf(s *stream) {
	if s.reset || s.in.ended {
		return
	}
	if s.in.announced >= 0 && s.in.total != s.in.announced {
		c.spoil(s, codeProtocol, detailMessage)
		return
	}
	s.endInputLocked()
}

// spoil ends a stream whose peer broke a rule.
func (c *conn) spoil(s *stream, code uint32, details string) {
	c.countReset(s)
	c.resetLocked(s, code)
	s.failLocked(s.violated(details))
}

// streamError is spoil by the stream's number.
func (c *conn) streamError(id, code uint32, details string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	switch {
	case c.unknown(id):
		return connError(codeProtocol, details)
	case s != nil:
		c.spoil(s, code, details)
	case !c.resets.has(id):
		c.resets.add(id)
		c.control(func(b []byte) []byte { return appendReset(b, id, code) })
	}
	return nil
}

// fixed reads a payload that has one possible length.
func (c *conn) fixed(n, want int) (uint32, error) {
	if n != want {
		return 0, connError(codeFrameSize, detailProtocol)
	}
	b, err := c.in.peek(n)
	if err != nil {
		return 0, err
	}
	c.in.skip(n)
	return binary.BigEndian.Uint32(b), nil
}

func (c *conn) readWindowUpdate(id uint32, n int) error {
	v, err := c.fixed(n, 4)
	if err != nil {
		return err
	}
	c.seen.updates++
	more := int64(v & maxWindow)
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &c.window
	if c.seen.updates > 5+2*(w.opened+int64(c.set.Floods.WindowUpdatesPerData)*w.dataOut) {
		return connError(codeEnhanceYourCalm, detailWindows)
	}
	if id == 0 {
		if more == 0 {
			return connError(codeProtocol, detailProtocol)
		}
		if w.send += more; w.send > maxWindow {
			return connError(codeFlowControl, detailProtocol)
		}
		c.wakeSenders()
		return nil
	}
	if c.unknown(id) {
		return connError(codeProtocol, detailProtocol)
	}
	s := c.streams[id]
	if s == nil || s.reset {
		return nil
	}
	if more == 0 {
		c.spoil(s, codeProtocol, detailProtocol)
		return nil
	}
	if s.window += more; s.window > maxWindow {
		c.spoil(s, codeFlowControl, detailProtocol)
		return nil
	}
	s.send.ring()
	return nil
}

func (c *conn) readReset(id uint32, n int) error {
	code, err := c.fixed(n, 4)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unknown(id) {
		return connError(codeProtocol, detailProtocol)
	}
	s := c.streams[id]
	if s == nil || s.reset {
		return nil
	}
	c.countReset(s)
	s.reset, s.left = true, true
	switch {
	case s.complete():
	case c.server || !s.in.ended:
		s.failLocked(s.resetBy(code))
	default:
		s.send.ring() // the response is complete: nobody needs the rest of the request
	}
	s.closedLocked()
	return nil
}

// prematureAge is how long a stream has to live for its reset not to count.
const prematureAge = int64(time.Second)

// countReset bounds the streams that a downstream opens only to have them reset
// (CVE-2023-44487), or to make us do it (CVE-2025-8671): Envoy's rule.
func (c *conn) countReset(s *stream) {
	if !c.server || s.reset || s.sent.head || c.seenNow()-s.born > prematureAge {
		return
	}
	c.seen.premature++
	limit := int64(c.set.Floods.PrematureResets)
	if 2*c.seen.premature >= max(limit, c.window.opened) {
		c.stopLocked(connError(codeEnhanceYourCalm, detailPremature))
	}
}

// seenNow is the time at which the reader got the bytes it works on.
func (c *conn) seenNow() int64 {
	if c.seen.now == 0 {
		c.seen.now = c.since(time.Now())
	}
	return c.seen.now
}

// tellLeft tells those who watch over streams that these have failed.
func (c *conn) tellLeft() {
	for i, s := range c.left {
		s.gone()
		c.mu.Lock()
		s.gone, s.calling = nil, false
		c.cond.Broadcast()
		c.mu.Unlock()
		c.left[i] = nil
	}
	c.left = c.left[:0]
}
