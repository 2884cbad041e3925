package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/crash"
	"github.com/outrigger-mesh/outrigger/sock"
)

// The relay looks at its clock this often; between two looks the bytes of a
// spliced connection pass without this process seeing them.
const (
	tickMin = 10 * time.Millisecond
	tickMax = time.Minute
)

// lingerTime is how long a downstream that is still sending may take to notice the
// end, as Envoy's delayed_close_timeout.
const lingerTime = time.Second

// errIdle and errMaxDuration end a relay by the clock.
var (
	errIdle        = errors.New("idle timeout")
	errMaxDuration = errors.New("maximum duration reached")
)

// relay carries bytes between two connections until both directions have ended.
type relay struct {
	// immutable
	down, up side
	idle     time.Duration
	deadline time.Time // of the whole relay; zero is none
	tick     time.Duration

	last    atomic.Int64 // when a byte last moved, in Unix nanoseconds
	stopped atomic.Bool
	bug     crash.Box

	// guarded by mu
	mu  sync.Mutex
	end ending
}

// side is one end of a relay. tcp is the bare socket where there is no TLS; peeked
// reports, to the one who reads, whether bytes from before have to be copied
// first.
type side struct {
	conn   net.Conn
	tcp    *net.TCPConn
	bulk   *sock.Conn // what a TLS session runs on, else nil
	peeked func() bool
}

// hasten makes a plain side's reads and writes quick.
func (s *side) hasten() {
	if words, ok := s.conn.(*socket); ok {
		words.hasten()
		return
	}
	s.conn = sock.Wrap(s.conn)
}

// read returns what there is, of a TLS session more than one record.
func (s *side) read(buf []byte) (int, error) {
	n, err := s.conn.Read(buf)
	for err == nil && s.bulk != nil && len(buf)-n >= buffer.Medium && s.bulk.HasRecord() {
		var more int
		more, err = s.conn.Read(buf[n:])
		n += more
	}
	return n, err
}

// write sends all of it, over TLS in one piece.
func (s *side) write(buf []byte) (int, error) {
	if s.bulk == nil {
		return s.conn.Write(buf)
	}
	return s.bulk.WriteAll(s.conn, buf)
}

// splices reports whether bytes can go from src to dst within the kernel.
func splices(dst, src *side) bool {
	return dst.tcp != nil && src.tcp != nil && (src.peeked == nil || !src.peeked())
}

// endReason tells what ended a relay.
type endReason uint8

const (
	endClosed endReason = iota // both sides had said everything
	endIdle
	endMaxDuration
	endCut // by our own side: drain or shutdown
	endReset
)

// ending is the outcome of a relay.
type ending struct {
	fromDown, fromUp int64
	reason           endReason
	side             flow.Side
	err              error
}

// text is the outcome for the record; empty for an orderly end.
func (e *ending) text() string {
	switch e.reason {
	case endIdle:
		return "idle_timeout"
	case endMaxDuration:
		return "max_connection_duration_reached"
	case endCut:
		return "local_close"
	case endReset: // Envoy tells it by the flag
		return ""
	default:
		return ""
	}
}

// run relays, one direction on the caller's goroutine and one on another, which it
// joins. Both connections are done with when it returns, but not closed.
func (r *relay) run(ctx context.Context) ending {
	r.tick = tickMax
	if r.idle > 0 {
		r.tick = min(max(r.idle/8, tickMin), tickMax)
	}
	r.last.Store(time.Now().UnixNano())
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		r.fail(endCut, flow.SideInternal, context.Cause(ctx))
	})
	var wg sync.WaitGroup
	wg.Go(func() { r.end.fromDown = r.guarded(&r.up, &r.down, flow.SideUpstream, flow.SideDownstream) })
	r.end.fromUp = r.guarded(&r.down, &r.up, flow.SideDownstream, flow.SideUpstream)
	wg.Wait()
	if !stop() {
		<-cut
	}
	r.bug.Rethrow()
	if r.end.reason == endReset && ctx.Err() != nil { // we closed it ourselves
		r.end.reason, r.end.side = endCut, flow.SideInternal
	}
	r.passReset()
	return r.end
}

// passReset has a side that was reset answered by a reset of the other one, which
// would otherwise take what is cut short for complete.
func (r *relay) passReset() {
	if !r.end.reset() {
		if r.end.reason == endReset && r.end.side == flow.SideUpstream {
			linger(r.down.conn)
		}
		return
	}
	other := r.down.conn
	if r.end.side == flow.SideDownstream {
		other = r.up.conn
	}
	if tcp := sock.TCP(other); tcp != nil {
		_ = tcp.SetLinger(0) // without it the end is an orderly one
	}
}

// reset reports that a side reset its connection, rather than being gone when we
// wrote to it.
func (e *ending) reset() bool {
	return e.reason == endReset && errors.Is(e.err, syscall.ECONNRESET)
}

// guarded is half, of which a panic ends the other direction too. It is run's.
func (r *relay) guarded(dst, src *side, dstSide, srcSide flow.Side) int64 {
	defer func() {
		if r.bug.Caught() {
			r.fail(endCut, flow.SideInternal, nil)
		}
	}()
	defer r.bug.Catch()
	return r.half(dst, src, dstSide, srcSide)
}

// half carries one direction to its end and passes the half-close on.
func (r *relay) half(dst, src *side, dstSide, srcSide flow.Side) int64 {
	var total int64
	b := buffers{}
	defer b.put()
	for {
		r.arm(dst, src)
		n, readErr, writeErr := r.step(dst, src, &b)
		total += n
		if n > 0 {
			r.last.Store(time.Now().UnixNano())
		}
		switch {
		case r.stopped.Load():
			return total
		case readErr == nil && writeErr == nil:
			if err := closeWrite(dst.conn); err != nil && !errors.Is(err, net.ErrClosed) {
				r.note(endReset, dstSide, err)
			}
			return total
		case isTimeout(readErr) || isTimeout(writeErr):
			b.shrink(n)
			if reason, err := r.expired(); err != nil {
				r.fail(reason, flow.SideInternal, err)
				return total
			}
		case writeErr != nil:
			// The other direction drains what the dead side sent before it died, and
			// ends by itself.
			r.note(endReset, dstSide, writeErr)
			return total
		default:
			r.fail(endReset, srcSide, readErr)
			return total
		}
	}
}

// arm sets the read deadline to the next look at the clock, and write deadlines
// that only a relay that does not move at all can reach: a write that times out
// may have lost bytes.
func (r *relay) arm(dst, src *side) {
	if r.idle <= 0 && r.deadline.IsZero() {
		return
	}
	now := time.Now()
	next := now.Add(r.tick)
	if !r.deadline.IsZero() && r.deadline.Before(next) {
		next = r.deadline
	}
	last := r.deadline
	if r.idle > 0 {
		if byIdle := now.Add(r.idle + r.tick); last.IsZero() || byIdle.Before(last) {
			last = byIdle
		}
	}
	if r.stopped.Load() {
		return
	}
	_ = src.conn.SetReadDeadline(next)
	_ = dst.conn.SetWriteDeadline(last)
	_ = src.conn.SetWriteDeadline(last)
	if r.stopped.Load() { // fail may have set its deadlines in between
		r.interrupt()
	}
}

// expired tells whether a clock has run out.
func (r *relay) expired() (endReason, error) {
	now := time.Now()
	if !r.deadline.IsZero() && !now.Before(r.deadline) {
		return endMaxDuration, errMaxDuration
	}
	if r.idle > 0 && now.UnixNano()-r.last.Load() >= int64(r.idle) {
		return endIdle, errIdle
	}
	return endClosed, nil
}

// step moves bytes until the source ends, a deadline passes or something breaks:
// by splice where both sides are bare sockets, else through a buffer.
func (r *relay) step(dst, src *side, b *buffers) (n int64, readErr, writeErr error) {
	if splices(dst, src) {
		b.put()
		to, from := dst.tcp, src.tcp
		n, err := to.ReadFrom(from)
		if err == nil || isTimeout(err) {
			return n, err, nil
		}
		if gone(to) && !gone(from) {
			return n, nil, err
		}
		return n, err, nil
	}
	for {
		buf := b.get()
		m, err := src.read(buf)
		if m > 0 {
			w, werr := dst.write(buf[:m])
			n += int64(w)
			if werr != nil {
				return n, nil, werr
			}
			b.grow(m)
			if src.bulk != nil && b.size > buffer.Medium {
				src.bulk.ReadAhead()
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return n, nil, nil
		case err != nil:
			return n, err, nil
		case splices(dst, src): // the peeked bytes are sent
			return n, os.ErrDeadlineExceeded, nil
		}
	}
}

// fail ends both directions; the first reason stands.
func (r *relay) fail(reason endReason, side flow.Side, err error) {
	r.note(reason, side, err)
	r.stopped.Store(true)
	r.interrupt()
}

func (r *relay) note(reason endReason, side flow.Side, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end.err == nil {
		r.end.reason, r.end.side, r.end.err = reason, side, err
	}
}

// interrupt wakes whoever reads or writes.
func (r *relay) interrupt() {
	past := time.Unix(1, 0)
	_ = r.down.conn.SetDeadline(past)
	_ = r.up.conn.SetDeadline(past)
}

// linger closes the sending half and waits a moment for the peer to end: a close
// with unread bytes would become a reset, which takes back what is in flight.
func linger(c net.Conn) {
	if closeWrite(c) != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	buf := buffer.Get(buffer.Small)
	defer buffer.Put(buf)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

func isTimeout(err error) bool {
	return err != nil && errors.Is(err, os.ErrDeadlineExceeded)
}
