package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// errStreamIdle ends an exchange whose upstream has sent nothing for too long.
var errStreamIdle = &flow.Error{Side: flow.SideInternal, Flag: flow.StreamIdleTimeout, Kind: flow.KindTimeout, Details: "stream_idle_timeout"}

// errStalledRequest ends a request whose downstream has sent nothing for too long.
var errStalledRequest = &flow.Error{Side: flow.SideDownstream, Flag: flow.StreamIdleTimeout, Kind: flow.KindTimeout, Details: "stream_idle_timeout"}

// errTryIdle ends an attempt whose upstream has sent nothing for longer than one may.
var errTryIdle = &flow.Error{
	Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryReset, Details: "upstream_per_try_idle_timeout",
}

// idleClock rings when nothing has moved for its limit. Moving is cheap: the timer
// is looked at only when it fires.
type idleClock struct {
	limit time.Duration // immutable
	ring  func()        // immutable

	last atomic.Int64 // when something moved, in Unix nanoseconds

	mu      sync.Mutex
	timer   *time.Timer // guarded by mu
	stopped bool        // guarded by mu
}

// newIdleClock starts a clock. ring is called at most once, and never after stop.
func newIdleClock(limit time.Duration, ring func()) *idleClock {
	c := &idleClock{limit: limit, ring: ring}
	c.moved()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(limit, c.look)
	return c
}

func (c *idleClock) moved() { c.last.Store(time.Now().UnixNano()) }

func (c *idleClock) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	if left := c.limit - time.Duration(time.Now().UnixNano()-c.last.Load()); left > 0 {
		c.timer.Reset(left)
		return
	}
	c.stopped = true
	c.ring()
}

// stop may be called on nil.
func (c *idleClock) stop() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.timer.Stop()
}

// idleBody is a response's body under the stream idle timeout.
type idleBody struct {
	httpmsg.Body
	clock  *idleClock
	pieces httpmsg.PieceReader // of Body, where it has them
}

// Read notes that something moved: the response, or the downstream that took what
// was read before.
func (b *idleBody) Read(p []byte) (int, error) {
	b.clock.moved()
	n, err := b.Body.Read(p)
	b.clock.moved()
	return n, err
}

// Pieces reads the body by pieces where it comes so.
func (b *idleBody) Pieces() httpmsg.PieceReader {
	if b.pieces = httpmsg.Pieces(b.Body); b.pieces == nil {
		return nil
	}
	return b
}

// ReadPiece is Read.
func (b *idleBody) ReadPiece() (httpmsg.Piece, error) {
	b.clock.moved()
	piece, err := b.pieces.ReadPiece()
	b.clock.moved()
	return piece, err
}

// streamIdle is how long an exchange may be without any movement; 0 is for ever.
func (x *Exchange) streamIdle() time.Duration {
	if x.Rule != nil && x.Rule.IdleTimeout != nil {
		return *x.Rule.IdleTimeout
	}
	return x.h.spec.Timeouts.StreamIdle
}

// tryIdle is how long an attempt may be without anything from its upstream; 0 is for
// ever.
func (x *Exchange) tryIdle() time.Duration {
	if x.trip.retry == nil {
		return 0
	}
	return x.trip.retry.PerTryIdle
}

// guardBody puts the response's body under the stream idle timeout, where it is not
// here already.
func (x *Exchange) guardBody() {
	limit, resp, why := x.streamIdle(), x.Response, errStreamIdle
	if d := x.tryIdle(); d > 0 && (limit <= 0 || d < limit) {
		limit, why = d, errTryIdle
	}
	if limit <= 0 || resp.Tunnel != nil || resp.Body == httpmsg.NoBody {
		return
	}
	if n := int64(resp.Body.Buffered()); n < 0 || n > 0 && n == resp.ContentLength {
		return
	}
	stream := x.trip.stream
	x.trip.idle = newIdleClock(limit, func() { stream.Abort(why) })
	resp.Body = &idleBody{Body: resp.Body, clock: x.trip.idle}
}
