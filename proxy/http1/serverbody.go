package http1

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// errBodyClosed is what a read of a body that was given up returns.
var errBodyClosed = errors.New("body was closed")

// requestBody is the content that a downstream sends. It is read by the handler's
// goroutine or by the one that pumps it upstream.
type requestBody struct {
	c *ServerConn

	// wantContinue is true while the downstream waits for a 100 and may get one.
	wantContinue atomic.Bool
	// complete is true when the last byte of the request was read.
	complete atomic.Bool
	closed   atomic.Bool

	mu      sync.Mutex
	dec     decoder // guarded by mu
	touched bool    // guarded by mu; somebody has begun to read
	count   int64   // guarded by mu
}

var (
	_ httpmsg.Interruptible = (*requestBody)(nil)
	_ httpmsg.Counted       = (*requestBody)(nil)
)

// begin readies the body of the request that was just parsed.
func (b *requestBody) begin() {
	c := b.c
	c.rd.resume()
	b.closed.Store(false)
	b.touched, b.count = false, 0
	b.dec.start(&c.rd, c.parser.framing, c.req.ContentLength, c.parser.limits)
	b.wantContinue.Store(c.parser.expect)
	c.req.Trailer.Reset()
	c.req.Interim = nil
	if c.parser.framing == framingNone {
		b.complete.Store(true)
		c.req.Body = httpmsg.NoBody
		return
	}
	b.complete.Store(false)
	c.req.Body = b
}

// Read waits for content. The first one answers an expectation of 100 Continue.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.touched = true
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	if b.wantContinue.Load() && b.dec.buffered() == 0 {
		if err := b.c.out.sendContinue(); err != nil {
			return 0, err
		}
	}
	n, err := b.dec.read(p)
	b.count += int64(n)
	if err == nil {
		return n, nil
	}
	return n, b.ended(err)
}

func (b *requestBody) ended(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		if !b.complete.Load() && b.c.o.EnableTrailers {
			b.dec.trailers(&b.c.req.Trailer)
		}
		b.complete.Store(true)
		return io.EOF
	case errors.Is(err, errInterrupted):
		if b.closed.Load() {
			return errBodyClosed
		}
		return err
	}
	return downstreamError(err)
}

// Buffered is the number of bytes that were received and not read yet.
func (b *requestBody) Buffered() int {
	b.mu.Lock()
	b.touched = true
	defer b.mu.Unlock()
	return b.dec.buffered()
}

// Received is the number of content bytes that were read so far.
func (b *requestBody) Received() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}

// Arrived is the number of content bytes that were received so far, read or not. It
// is for who has not begun to read.
func (b *requestBody) Arrived() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count + int64(max(b.dec.buffered(), 0))
}

// Close gives up the content and ends a Read that waits for it.
func (b *requestBody) Close() error {
	if !b.complete.Load() && !b.closed.Swap(true) {
		b.Interrupt()
	}
	return nil
}

// Interrupt ends a Read that waits, and fails others until Resume.
func (b *requestBody) Interrupt() {
	if !b.complete.Load() {
		b.c.rd.interrupt()
	}
}

// Resume allows reading again.
func (b *requestBody) Resume() {
	if !b.closed.Load() {
		b.c.rd.resume()
	}
}

// settle reports whether the request was read to its end. Content that nobody asked
// for is passed over if it is there; once somebody did it is left alone, since
// whoever sends it on may still do so while the response goes down.
func (b *requestBody) settle() bool {
	if b.complete.Load() {
		return true
	}
	if !b.mu.TryLock() {
		return false // a Read waits
	}
	defer b.mu.Unlock()
	if b.touched {
		return false
	}
	b.closed.Store(true)
	if b.dec.discard(); errors.Is(b.dec.err, io.EOF) {
		b.complete.Store(true)
	}
	return b.complete.Load()
}

// textBody is a short body of our own.
type textBody struct {
	text string
}

func newTextBody(text string) *textBody { return &textBody{text} }

// Read returns the text.
func (t *textBody) Read(p []byte) (int, error) {
	n := copy(p, t.text)
	if t.text = t.text[n:]; t.text == "" {
		return n, io.EOF
	}
	return n, nil
}

// Buffered is the length of the text.
func (t *textBody) Buffered() int {
	if t.text == "" {
		return -1
	}
	return len(t.text)
}

// Close drops the text.
func (t *textBody) Close() error {
	t.text = ""
	return nil
}
