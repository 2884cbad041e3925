package http2

import (
	"net"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// ClientOptions are an upstream connection's settings. Zero values are Envoy's
// defaults. The functions may be nil; they are called without locks, some by the
// connection's reader, and must neither wait nor call Close.
type ClientOptions struct {
	Settings

	// OnIdle is called when the last open stream was closed.
	OnIdle func()
	// OnSpace is called when a stream more can be opened where none could before.
	OnSpace func()
	// OnEnd is called once, when no new streams can be opened from now on: the
	// upstream said so (nil), or the connection has ended.
	OnEnd func(error)
}

// ClientConn is an upstream connection, for many exchanges at a time.
type ClientConn struct {
	conn
	o    ClientOptions // immutable
	done chan struct{} // closed when the reader has ended

	// guarded by mu
	active int
	gone   bool // no new streams
	told   bool // OnEnd was called
}

// NewClientConn starts the reader of a connection that was dialled. The preface is
// written with the first request.
func NewClientConn(nc net.Conn, o ClientOptions) *ClientConn {
	c := &ClientConn{o: o, done: make(chan struct{})}
	c.init(nc, &o.Settings, nil, c)
	c.clock.check = c.look
	if o.OnSpace != nil {
		c.onMore = c.more
	}
	c.mu.Lock()
	c.append(2, func(b []byte) []byte { return c.hello(append(b, preface...)) })
	if c.set.KeepAlive.Interval > 0 {
		c.clock.arm(c.keepAlive(c.since(time.Now())))
	}
	c.mu.Unlock()
	go c.run()
	return c
}

// run reads until the connection ends; Close joins it.
func (c *ClientConn) run() {
	defer close(c.done)
	err := c.firstSettings()
	if err == nil {
		err = c.read()
	}
	c.mu.Lock()
	if c.cause == nil {
		c.cause = err
	}
	c.mu.Unlock()
	c.end(err)
	c.finish(err, func() {})
}

// end takes no more streams, and says so once.
func (c *ClientConn) end(err error) {
	c.mu.Lock()
	c.gone = true
	tell := !c.told
	c.told = true
	c.mu.Unlock()
	if tell && c.o.OnEnd != nil {
		c.o.OnEnd(err)
	}
}

// Open reserves a stream. The error is ErrFull or ErrGone.
func (c *ClientConn) Open() (*ClientStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.gone || c.ending || c.broken || c.cause != nil:
		return nil, ErrGone
	case c.spaceLocked() <= 0:
		return nil, ErrFull
	}
	c.active++
	s := clientStreams.Get().(*ClientStream) //nolint:forcetypeassert // the pool holds nothing else
	s.begin(c)
	return s, nil
}

// spaceLocked is how many streams more can be opened.
func (c *ClientConn) spaceLocked() int {
	if c.gone {
		return 0
	}
	limit := min(c.set.MaxConcurrentStreams, c.peer.maxStreams)
	if left := (maxWindow - c.lastID) / 2; left < limit {
		return int(left) - c.active // identifiers run out
	}
	return int(limit) - c.active
}

// Active is the number of open streams.
func (c *ClientConn) Active() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// Available is the number of streams that can be opened now.
func (c *ClientConn) Available() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending || c.broken || c.cause != nil {
		return 0
	}
	return max(0, c.spaceLocked())
}

// Drain opens no more streams, and closes the connection when the last one is done.
func (c *ClientConn) Drain() {
	c.mu.Lock()
	c.gone = true
	c.leaveLocked()
	c.mu.Unlock()
}

// leaveLocked ends a connection that takes no streams and has none.
func (c *ClientConn) leaveLocked() {
	if c.gone && c.active == 0 {
		c.stopLocked(errDrained)
	}
}

// Close ends the connection, and joins its goroutines.
func (c *ClientConn) Close() error {
	c.stop(errClosed)
	<-c.done
	return nil
}

// openHead begins a response or its trailers.
func (c *ClientConn) openHead(id uint32, end bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	switch {
	case c.unknown(id):
		return connError(codeProtocol, detailProtocol)
	case (s == nil || s.left) && !c.resets.has(id), s != nil && s.over():
		return connError(codeStreamClosed, detailProtocol)
	case s == nil || s.reset:
		c.head.open(id, end, blockIgnored, nil)
		return nil
	case s.in.ended:
		c.head.open(id, end, blockIgnored, nil)
		c.spoil(s, codeStreamClosed, detailProtocol)
		return nil
	}
	x := s.kin.(*ClientStream) //nolint:forcetypeassert // a client has no others
	if !x.answered {
		c.head.open(id, end, blockResponse, &c.spare)
		return nil
	}
	c.head.open(id, end, blockTrailer, &c.spare)
	if !end {
		c.head.refuse(violation(detailMessage))
	}
	return nil
}

// closeHead hands a response, or its end, to its stream. Nobody but the reader touches
// the fields before it says so.
func (c *ClientConn) closeHead() error {
	h := &c.head
	if h.block == blockIgnored {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[h.id]
	if s == nil || s.reset {
		return nil
	}
	x := s.kin.(*ClientStream) //nolint:forcetypeassert // a client has no others
	switch {
	case h.err != nil:
	case h.block == blockResponse:
		x.respondLocked(h)
	default:
		swap(&x.trailer, &c.spare)
	}
	switch {
	case h.err != nil:
		c.spoil(s, h.err.Code, h.err.Details)
	case h.end && s.in.announced >= 0 && s.in.total != s.in.announced:
		x.answered = x.answered && h.block != blockResponse
		c.spoil(s, codeProtocol, detailMessage)
	case h.end:
		s.endInputLocked()
	default:
		s.recv.ring()
	}
	return nil
}

// more says that there is space where there was none.
func (c *ClientConn) more(was uint32) {
	c.mu.Lock()
	space := uint64(c.active) >= uint64(min(was, c.set.MaxConcurrentStreams)) && c.spaceLocked() > 0 //nolint:gosec // a count
	c.mu.Unlock()
	if space {
		c.o.OnSpace()
	}
}

// onGoAway takes no more streams, and fails those that the upstream has not seen.
func (c *ClientConn) onGoAway(last, _ uint32) error {
	c.mu.Lock()
	c.gone = true
	for id, s := range c.streams {
		if id > last {
			s.failLocked(upstreamReset(codeRefusedStream))
			s.reset = true // it is unknown there
		}
	}
	c.leaveLocked()
	c.mu.Unlock()
	c.end(nil)
	return nil
}

// look is called by the clock, and returns when it is to be called again.
func (c *ClientConn) look(now int64) int64 {
	if c.ending {
		return 0
	}
	next := c.keepAlive(now)
	if l := c.headLimit; l != 0 && now >= l {
		c.stopLocked(connError(codeEnhanceYourCalm, detailProtocol))
	} else {
		next = earliest(next, l)
	}
	return next
}

// errUnsent says that a request did not leave us, since the upstream has announced the
// connection's end meanwhile: as good as refused.
func errUnsent() error {
	return &flow.Error{
		Side: flow.SideUpstream, Flag: flow.UpstreamRemoteReset, Kind: flow.KindRefusedStream,
		Retry: flow.RetryUnsent, Details: detailRefused, Err: ErrGone,
	}
}
