package proxy

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// replayLimit is how much of a request's body is kept for another attempt:
// Envoy's default buffer limit.
const replayLimit = 1 << 20

// requestBody stands before the downstream's body: it counts, notes when the
// request was complete, and keeps what passed for as long as the request may be
// sent again. One goroutine reads it at a time, which the end of an attempt joins.
type requestBody struct {
	// immutable during an attempt
	src    httpmsg.Body
	start  time.Time
	onDone func() // called at the end of the request, by the reader

	late *alarm // of the request timeout; nil without

	idle    *idleClock  // of the rule's own idle timeout; nil without
	stalled atomic.Bool // it has rung

	keep atomic.Bool  // record what passes
	slow atomic.Bool  // the request timeout has passed
	took atomic.Int64 // from start to the request's last byte, and one; 0 is not yet

	// owned by the reader
	n    int64
	here int64  // of it, what had arrived when the last attempt began
	kept []byte // what passed
	at   int    // how much of kept this attempt has read
	most int    // how much is kept at most
	pool []byte

	pieces httpmsg.PieceReader // of src, where it has them
	copies []*carbonBody       // what mirrors get of it
}

// begin puts the body in its place; a request without one is complete.
func (b *requestBody) begin(x *Exchange) {
	b.start = x.Record.Start
	if x.Request.Body == httpmsg.NoBody {
		b.took.Store(1)
		return
	}
	b.src = x.Request.Body
	x.Request.Body = b
	if d := x.h.spec.Timeouts.Request; d > 0 {
		b.late = &alarm{}
		b.late.start(d, func() {
			b.slow.Store(true)
			b.Interrupt()
		})
	}
}

// errSlowRequest ends a request that was not complete within the request timeout.
var errSlowRequest = &flow.Error{Side: flow.SideDownstream, Kind: flow.KindTimeout, Details: "request_overall_timeout"}

// guard ends a body of which nothing comes for d.
func (b *requestBody) guard(d time.Duration) {
	if b.src == nil || d <= 0 || b.took.Load() != 0 {
		return
	}
	b.idle = newIdleClock(d, func() {
		b.stalled.Store(true)
		b.Interrupt()
	})
}

// stop ends the clocks of the request.
func (b *requestBody) stop() {
	b.idle.stop()
	if b.late != nil {
		b.late.stop()
	}
}

// note counts what has arrived by now, whether or not an upstream will take it.
func (b *requestBody) note() {
	if a, ok := b.src.(interface{ Arrived() int64 }); ok {
		b.here = a.Arrived()
	}
}

// received is how many bytes of content have come.
func (b *requestBody) received() int64 { return max(b.n, b.here) }

// completed is when the request's last byte was read, or zero.
func (b *requestBody) completed() time.Time {
	took := b.took.Load()
	if took == 0 {
		return time.Time{}
	}
	return b.start.Add(time.Duration(took - 1))
}

// record keeps the body from now on, while it is not longer than most.
func (b *requestBody) record(announced int64, most int) {
	if b.src == nil {
		return
	}
	b.most = most
	b.keep.Store(true)
	size := buffer.Small
	if announced > buffer.Small {
		size = buffer.Medium
	}
	b.pool = buffer.Get(size)
	b.kept = b.pool[:0]
}

// replayable reports whether all that has passed was kept.
func (b *requestBody) replayable() bool { return b.src == nil || b.keep.Load() || b.n == 0 }

// rewind readies the body for another attempt; the reader has been joined. It
// reports false if too much has passed.
func (b *requestBody) rewind() bool {
	b.at = 0
	b.onDone = nil
	return b.replayable()
}

// forget stops keeping: there will be no other attempt.
func (b *requestBody) forget() { b.keep.Store(false) }

// copyTo has a mirror get what passes from now on.
func (b *requestBody) copyTo(c *carbonBody) { b.copies = append(b.copies, c) }

// copyPassed gives mirrors what has passed; those that are too slow get no more.
func (b *requestBody) copyPassed(p []byte) {
	b.copies = slices.DeleteFunc(b.copies, func(c *carbonBody) bool { return !c.feed(p) })
}

// completeCopies reads on for mirrors what is here already, where the request's own
// upstream has not taken it.
func (b *requestBody) completeCopies() {
	b.Resume()
	b.keep.Store(false)
	b.at = len(b.kept)
	p := make([]byte, buffer.Small)
	for len(b.copies) > 0 && b.took.Load() == 0 && b.src.Buffered() != 0 {
		if _, err := b.Read(p); err != nil {
			return
		}
	}
}

// end gives the memory back and readies the body for its next use.
func (b *requestBody) end() {
	buffer.Put(b.pool)
	for _, c := range b.copies {
		c.giveUp()
	}
	b.copies = nil
	b.src, b.onDone, b.late, b.pool, b.kept, b.at, b.n, b.here = nil, nil, nil, nil, nil, 0, 0, 0
	b.idle, b.pieces = nil, nil
	b.stalled.Store(false)
	b.slow.Store(false)
	b.keep.Store(false)
	b.took.Store(0)
}

// Read replays first what an earlier attempt has read.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.at < len(b.kept) {
		n := copy(p, b.kept[b.at:])
		b.at += n
		return n, nil
	}
	n, err := b.src.Read(p)
	return n, b.passed(p[:n], err)
}

// Pieces reads the body by pieces where it comes so, and nothing is to be replayed.
func (b *requestBody) Pieces() httpmsg.PieceReader {
	if b.at < len(b.kept) {
		return nil
	}
	if b.pieces = httpmsg.Pieces(b.src); b.pieces == nil {
		return nil
	}
	return b
}

// ReadPiece is Read.
func (b *requestBody) ReadPiece() (httpmsg.Piece, error) {
	piece, err := b.pieces.ReadPiece()
	var p []byte
	if piece != nil {
		p = piece.Bytes()
	}
	return piece, b.passed(p, err)
}

// passed notes what came of a read, and returns its error as the exchange sees it.
func (b *requestBody) passed(p []byte, err error) error {
	b.n += int64(len(p))
	if len(p) > 0 && b.keep.Load() {
		if len(b.kept)+len(p) > b.most {
			b.keep.Store(false)
		} else {
			b.kept = append(b.kept, p...)
			b.at = len(b.kept)
		}
	}
	if b.idle != nil && len(p) > 0 {
		b.idle.moved()
	}
	if len(b.copies) > 0 && len(p) > 0 {
		b.copyPassed(p)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		switch {
		case b.slow.Load():
			return errSlowRequest
		case b.stalled.Load():
			return errStalledRequest
		}
	}
	if errors.Is(err, io.EOF) && b.took.Load() == 0 {
		b.stop()
		b.took.Store(int64(time.Since(b.start)) + 1)
		for _, c := range b.copies {
			c.finish()
		}
		if b.onDone != nil {
			b.onDone()
		}
	}
	return err
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
