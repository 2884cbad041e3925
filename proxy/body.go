package proxy

import (
	"errors"
	"io"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// replayLimit is how much of a request's body is kept for another attempt:
// Envoy's default buffer limit.
const replayLimit = 1 << 20

// requestBody stands before the downstream's body: it counts, notes when the
// request was complete, and keeps what passed for as long as the request may be
// sent again. It is read by one goroutine at a time, which RoundTrip joins.
type requestBody struct {
	src  httpmsg.Body
	n    int64
	done time.Time

	keep bool   // record what passes
	kept []byte // what passed
	at   int    // how much of kept this attempt has read
	pool *[]byte

	onDone func(time.Time) // called at the end of the request, on the reader's goroutine
}

// begin puts the body in its place; a request without one is complete.
func (b *requestBody) begin(x *Exchange) {
	*b = requestBody{}
	if x.Request.Body == httpmsg.NoBody {
		b.done = x.Record.Start
		return
	}
	b.src = x.Request.Body
	x.Request.Body = b
}

// completed is when the request's last byte was read, or zero.
func (b *requestBody) completed() time.Time { return b.done }

// record keeps the body from now on.
func (b *requestBody) record(announced int64) {
	if b.src == nil {
		return
	}
	b.keep = true
	size := smallBuffer
	if announced > smallBuffer {
		size = midBuffer
	}
	b.pool = getBuffer(size)
	b.kept = (*b.pool)[:0]
}

// rewind readies the body for another attempt, and reports false if too much of it
// has passed.
func (b *requestBody) rewind() bool {
	if b.src == nil {
		return true
	}
	b.at = 0
	return b.keep
}

// forget stops keeping: there will be no other attempt.
func (b *requestBody) forget() {
	b.keep = false
	if b.at == len(b.kept) {
		b.end()
	}
}

// end gives the memory back.
func (b *requestBody) end() {
	if b.pool != nil {
		putBuffer(b.pool)
		b.pool, b.kept, b.at = nil, nil, 0
	}
}

// Read replays first what an earlier attempt has read.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.at < len(b.kept) {
		n := copy(p, b.kept[b.at:])
		b.at += n
		return n, nil
	}
	n, err := b.src.Read(p)
	b.n += int64(n)
	if b.keep && n > 0 {
		if len(b.kept)+n > replayLimit {
			b.keep = false
		} else {
			b.kept = append(b.kept, p[:n]...)
			b.at = len(b.kept)
		}
	}
	if errors.Is(err, io.EOF) && b.done.IsZero() {
		b.done = time.Now()
		if b.onDone != nil {
			b.onDone(b.done)
		}
	}
	return n, err
}

// Buffered counts what is to be replayed, too.
func (b *requestBody) Buffered() int {
	n := b.src.Buffered()
	if rest := len(b.kept) - b.at; rest > 0 {
		return rest + max(n, 0)
	}
	return n
}

// Close gives up what was not read.
func (b *requestBody) Close() error { return b.src.Close() }

// Interrupt ends a Read that waits.
func (b *requestBody) Interrupt() {
	if in, ok := b.src.(httpmsg.Interruptible); ok {
		in.Interrupt()
	}
}

// Resume allows reading again.
func (b *requestBody) Resume() {
	if in, ok := b.src.(httpmsg.Interruptible); ok {
		in.Resume()
	}
}
