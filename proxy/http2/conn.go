package http2

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

const (
	// lingerTime is Envoy's delayed close: how long a connection that ends by our will
	// is still read, so that what was written last is not lost in a reset.
	lingerTime = time.Second
	// recentResets is how many streams that we reset are remembered: their frames may
	// still be on the way.
	recentResets = 128
)

// side is what the two sides do differently. All but ended are called by the reader.
type side interface {
	// openHead says where the fields of a header block go.
	openHead(id uint32, end bool) error
	// closeHead is called when the block is complete.
	closeHead() error
	// onGoAway is told that the peer takes no streams above last.
	onGoAway(last, code uint32) error
}

// conn is what both sides have in common.
type conn struct {
	// immutable
	nc    net.Conn
	set   Settings
	side  side
	epoch time.Time
	// onMore, where not nil, is told when the peer takes more than so many streams.
	onMore func(was uint32)
	// streamIdle bounds each wait for the peer within a stream; 0 is none.
	streamIdle time.Duration
	server     bool

	// owned by the reader
	in    input
	fr    *xhttp2.Framer
	dec   *hpack.Decoder
	head  headParser
	seen  inbound
	spare httpmsg.Header // where responses and trailers are put together
	left  []*stream      // failed ones whose watchers are to be told
	clock clock

	w        writer // owned by who flushes
	stopping atomic.Bool

	mu   sync.Mutex
	cond sync.Cond // something changed that only ends wait for
	// what follows is guarded by mu
	streams map[uint32]*stream
	out     output
	enc     encoder
	peer    peerSettings
	window  windows
	waiters []*stream // for a window of the connection, or room to write
	lastID  uint32    // of the streams that the peer opened, or we
	resets  resets
	busy    int // goroutines that work for streams
	pongs   pongs
	// headLimit is when the head that comes has to be here; 0 is none comes.
	headLimit int64
	headAt    int   // where the head that is being appended begins
	cause     error // why the connection ends
	ending    bool  // it reads no more
	broken    bool  // it writes no more
	goneAway  bool  // we sent GOAWAY that names a last stream
}

// peerSettings are what the other end announced.
type peerSettings struct {
	known      bool
	maxStreams uint32
	window     int64 // of new streams
	announced  int64 // what window is to become
	frameSize  int
	connect    bool
}

// windows are those of the connection as a whole.
type windows struct {
	send    int64 // what the peer lets us send
	offered int64 // what we let the peer send
	held    int64 // content that waits to be read
	dataOut int64 // DATA frames sent, and streams opened, for the bound on updates
	opened  int64
}

// resets remembers streams that were reset here and may still be heard of.
type resets struct {
	ids   []uint32
	at    int
	total int
}

func (r *resets) add(id uint32) {
	r.total++
	if len(r.ids) < recentResets {
		r.ids = append(r.ids, id)
		return
	}
	r.ids[r.at] = id
	r.at = (r.at + 1) % recentResets
}

// has reports whether a stream may have been reset here: once many were, any may.
func (r *resets) has(id uint32) bool {
	return r.total > recentResets || slices.Contains(r.ids, id)
}

func (c *conn) init(nc net.Conn, set *Settings, initial []byte, sd side) {
	c.nc, c.set, c.side = nc, *set, sd
	c.set.normalize()
	c.epoch = time.Now()
	c.cond.L = &c.mu
	c.in.init(nc, initial)
	c.in.pause = c.pauseReading
	c.fr = xhttp2.NewFramer(io.Discard, &c.in)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(minFrameSize)
	c.dec = hpack.NewDecoder(DefaultHeaderTableSize, c.head.field) // what a peer starts with
	c.dec.SetAllowedMaxDynamicTableSize(c.set.HeaderTableSize)
	c.dec.SetMaxStringLength(maxBlock(c.set.MaxHeadBytes)) // one that is too long costs its stream
	c.head.c = c
	c.w.init(nc, c.streamIdle)
	c.streams = make(map[uint32]*stream)
	c.enc.init()
	c.peer = peerSettings{maxStreams: assumedStreams, window: 65535, announced: 65535, frameSize: minFrameSize}
	c.window.send, c.window.offered = 65535, 65535
	c.clock.c = c
}

// assumedStreams is how many streams we open before the peer has said how many it
// takes, the least that RFC 9113 recommends.
const assumedStreams = 100

// since is the time on the connection's own clock, never 0.
func (c *conn) since(t time.Time) int64 { return max(1, int64(t.Sub(c.epoch))) }

// hello appends what a connection begins with.
func (c *conn) hello(b []byte) []byte {
	n := len(b)
	b = appendFrame(b, 0, frameSettings, 0, 0)
	if !c.server {
		b = appendSetting(b, settingEnablePush, 0)
	} else {
		b = appendSetting(b, settingMaxConcurrentStreams, c.set.MaxConcurrentStreams)
		if c.set.AllowConnect {
			b = appendSetting(b, settingEnableConnect, 1)
		}
	}
	if c.set.HeaderTableSize != DefaultHeaderTableSize {
		b = appendSetting(b, settingHeaderTableSize, c.set.HeaderTableSize)
	}
	b = appendSetting(b, settingInitialWindowSize, c.set.InitialStreamWindow)
	b = appendSetting(b, settingMaxHeaderListSize, uint32(c.set.MaxHeadBytes+entryOverhead*c.set.MaxHeaders)) //nolint:gosec // bounded
	putFrame(b[n:], len(b)-n-frameHeadLen, frameSettings, 0, 0)
	if more := int64(c.set.InitialConnWindow) - c.window.offered; more > 0 {
		b = appendWindowUpdate(b, 0, uint32(more))
		c.window.offered += more
	}
	return b
}

// append adds frames to the output. The caller holds the lock.
func (c *conn) append(frames int, add func([]byte) []byte) {
	if c.broken {
		return
	}
	c.out.room(64)
	n := len(c.out.buf)
	c.out.buf = add(c.out.buf)
	c.out.grew(n, frames)
}

// control appends a frame that answers the peer, of which only so many may wait.
func (c *conn) control(add func([]byte) []byte) {
	c.append(1, add)
	c.answered()
}

// answered counts a frame that was appended because the peer asked for it, and that
// nothing else bounds.
func (c *conn) answered() {
	c.out.control++
	c.out.urgent = true
	switch {
	case c.out.control+c.out.busy.control > c.set.Floods.OutboundControlFrames:
		c.stopLocked(connError(codeEnhanceYourCalm, detailControl))
	case c.out.frames+c.out.busy.frames > c.set.Floods.OutboundFrames:
		c.stopLocked(connError(codeEnhanceYourCalm, detailOutbound))
	}
}

// resetLocked appends RST_STREAM, once per stream.
func (c *conn) resetLocked(s *stream, code uint32) {
	if s.reset || s.id == 0 {
		return
	}
	s.reset = true
	if !s.in.ended {
		c.resets.add(s.id)
	}
	c.control(func(b []byte) []byte { return appendReset(b, s.id, code) })
	s.closedLocked()
}

// pauseReading is called before the reader waits.
func (c *conn) pauseReading() {
	c.mu.Lock()
	urgent := c.out.urgent
	c.mu.Unlock()
	if urgent {
		c.flushNow()
	}
}

// stopLocked has the connection end because of err: the reader, which is told, does
// the rest.
func (c *conn) stopLocked(err error) {
	if c.cause == nil {
		c.cause = err
	}
	c.stopping.Store(true)
	_ = c.nc.SetReadDeadline(past()) // a closed connection does not wait either
}

func (c *conn) stop(err error) {
	c.mu.Lock()
	c.stopLocked(err)
	c.mu.Unlock()
}

// breakLocked ends a connection that cannot be written to.
func (c *conn) breakLocked(err error) {
	c.broken = true
	c.out.free()
	c.stopLocked(err)
	c.wakeSenders()
	c.cond.Broadcast()
}

// past is a deadline that ends a wait at once.
func past() time.Time { return time.Unix(1, 0) }

// read handles frames until the connection ends, and returns why.
func (c *conn) read() error {
	for {
		err := c.readFrame()
		if err == nil {
			continue
		}
		if err = c.translate(err); err != nil {
			return c.why(err)
		}
	}
}

// firstSettings sees that the peer begins with SETTINGS (RFC 9113 section 3.4).
func (c *conn) firstSettings() error {
	b, err := c.in.peek(frameHeadLen)
	switch {
	case err != nil:
		return c.why(err)
	case b[3] != frameSettings || b[4]&flagAck != 0:
		return connError(codeProtocol, detailProtocol)
	}
	return nil
}

// why is the reason for which the connection ends, where reading failed with err.
func (c *conn) why(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil && (interrupted(err) || errors.Is(err, errClosed)):
		return c.cause
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.EOF
	}
	return err
}

// translate makes an error of the Framer ours; nil means that it was dealt with.
func (c *conn) translate(err error) error {
	if se, ok := errors.AsType[xhttp2.StreamError](err); ok {
		return c.streamError(se.StreamID, uint32(se.Code), detailProtocol)
	}
	if code, ok := errors.AsType[xhttp2.ConnectionError](err); ok {
		return connError(uint32(code), detailProtocol)
	}
	if errors.Is(err, xhttp2.ErrFrameTooLarge) {
		return connError(codeFrameSize, detailProtocol)
	}
	return err
}

// finish ends the connection: it tells the peer why, fails what still runs, and waits
// for the last bytes. users waits for the goroutines that work for streams.
func (c *conn) finish(err error, users func()) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = err
	}
	c.ending = true
	code, tell := codeNo, !c.goneAway
	if pe, ok := errors.AsType[*ProtocolError](err); ok {
		code, tell = pe.Code, true
	}
	if tell && !errors.Is(err, io.EOF) {
		last := c.lastID
		if !c.server {
			last = 0
		}
		c.append(1, func(b []byte) []byte { return appendGoAway(b, last, code) })
	}
	cut := err
	if errors.Is(err, io.EOF) {
		cut = io.ErrUnexpectedEOF // or who reads a body takes its cut for its end
	}
	for _, s := range c.streams {
		switch {
		case s.complete():
		case c.server || !s.in.ended:
			s.failLocked(s.lost(cut))
		default:
			s.send.ring() // the response is complete: nobody needs the rest of the request
		}
	}
	c.mu.Unlock()
	c.tellLeft()
	c.flushNow()
	users()
	c.clock.stop()
	c.farewell(err)
	c.in.free()
	c.mu.Lock()
	c.out.free()
	c.mu.Unlock()
}

// farewell writes what is left, reads on for a moment, and closes.
func (c *conn) farewell(err error) {
	c.w.hurry.Store(true)
	_ = c.nc.SetWriteDeadline(time.Now().Add(lingerTime)) // who writes now has no longer
	c.flushNow()
	c.mu.Lock()
	c.flushedLocked()
	broken := c.broken
	c.mu.Unlock()
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && c.server && !broken && !errors.Is(err, io.EOF) && half.CloseWrite() == nil {
		c.linger()
	}
	c.mu.Lock()
	c.broken = true
	c.mu.Unlock()
	_ = c.nc.Close() // nobody is left to tell
	c.mu.Lock()
	c.flushedLocked() // by who came late
	c.mu.Unlock()
}

// flushedLocked waits until nobody writes.
func (c *conn) flushedLocked() {
	for c.out.flushing {
		c.cond.Wait()
	}
}

// linger passes over what the peer still sends.
func (c *conn) linger() {
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	b := buffer.Get(buffer.Medium)
	defer buffer.Put(b)
	for total := 0; total < outputLimit; {
		n, err := c.nc.Read(b)
		if err != nil {
			return
		}
		total += n
	}
}
