package http2

import (
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/sock"
)

const (
	// outputLimit is how many bytes may wait to be written before content has to
	// wait outside.
	outputLimit = 256 << 10
	// quickWrite is the most that is given to a socket in one call.
	quickWrite = 64 << 10
	// fewSegments is how many a connection without streams keeps room for.
	fewSegments = 8
	// defaultWriteTimeout is how long a peer may take no bytes at all, where nothing
	// else bounds it: Envoy's default for streams.
	defaultWriteTimeout = 5 * time.Minute
)

// segment is a part of what is to be written, and what is free when that is done.
type segment struct {
	b     []byte
	back  []byte        // a buffer, which may hold the parts before b as well
	piece httpmsg.Piece // whose bytes b are; nil where they are the buffer's
}

func (g *segment) free() {
	if g.piece != nil {
		g.piece.Free()
	}
	if g.back != nil {
		putBuffer(g.back)
	}
	*g = segment{}
}

// output gathers frames until they are written. All of it is guarded by the
// connection's lock.
type output struct {
	buf   []byte    // frames are appended here
	cut   int       // what of buf is in the queue already
	queue []segment // what is before it

	waiting  int   // bytes in buf and queue
	appended int64 // bytes in all
	written  int64 // bytes that the connection took

	frames, control int // frames that wait
	busy            struct{ bytes, frames, control int }
	urgent          bool // the reader has them written before it waits
	flushing        bool // somebody writes, or is about to
}

// room makes sure that n bytes fit without a copy of what is there.
func (o *output) room(n int) {
	if o.buf == nil {
		o.buf = getBuffer(max(n, mediumBuffer))[:0]
		return
	}
	if cap(o.buf)-len(o.buf) < n {
		o.shut()
		o.buf = getBuffer(max(n, mediumBuffer))[:0]
	}
}

// shut puts the rest of buf into the queue.
func (o *output) shut() {
	switch {
	case len(o.buf) == 0:
		putBuffer(o.buf)
	case o.cut == len(o.buf):
		o.queue[len(o.queue)-1].back = o.buf // behind a piece
	default:
		o.queue = append(o.queue, segment{b: o.buf[o.cut:], back: o.buf})
	}
	o.buf, o.cut = nil, 0
}

// add has p, which belongs to piece, written behind what is in buf, without a copy.
func (o *output) add(p []byte, piece httpmsg.Piece) {
	if o.cut < len(o.buf) {
		o.queue = append(o.queue, segment{b: o.buf[o.cut:len(o.buf):len(o.buf)]})
		o.cut = len(o.buf)
	}
	o.queue = append(o.queue, segment{b: p, piece: piece})
	o.waiting += len(p)
	o.appended += int64(len(p))
}

// full reports that content has to wait.
func (o *output) full() bool { return o.waiting+o.busy.bytes >= outputLimit }

// grew accounts for what was appended behind the first n bytes of buf.
func (o *output) grew(n, frames int) {
	d := len(o.buf) - n
	o.waiting += d
	o.appended += int64(d)
	o.frames += frames
}

// take moves what waits into the writer's hands.
func (o *output) take(into []segment) []segment {
	if o.buf != nil {
		o.shut()
	}
	into, o.queue = o.queue, into[:0]
	o.busy.bytes, o.busy.frames, o.busy.control = o.waiting, o.frames, o.control
	o.waiting, o.frames, o.control, o.urgent = 0, 0, 0, false
	return into
}

// free gives the memory back at the connection's end.
func (o *output) free() {
	if o.buf != nil {
		o.shut()
	}
	for i := range o.queue {
		o.queue[i].free()
	}
	o.queue = nil
	o.waiting = 0
}

// writer gives bytes to the connection. It belongs to whoever flushes.
type writer struct {
	nc      net.Conn
	raw     syscall.RawConn // of a plain socket
	segs    []segment
	at      int // the first that was not written
	off     int // what of it was
	timeout time.Duration
	// hurry is set at the connection's end: writes have no longer than lingerTime.
	hurry atomic.Bool

	onReady func(fd uintptr) bool
	onWait  func(fd uintptr) bool
	n       int
	err     error
}

func (w *writer) init(nc net.Conn, timeout time.Duration) {
	w.nc, w.timeout = nc, timeout
	if w.timeout <= 0 {
		w.timeout = defaultWriteTimeout
	}
	if w.raw = rawOf(nc); w.raw != nil {
		w.onReady, w.onWait = w.writeReady, w.writeWhenReady
	}
}

// left are the segments that were not written.
func (w *writer) left() []segment { return w.segs[w.at:] }

// try writes without waiting, and reports whether all was written. What is left stays
// in segs. A TLS session leaves everything to a goroutine, although its socket could be
// asked for room: while that goroutine starts, others append, and fewer records are
// written. Whoever encrypts and writes at once needs about a fifth more CPU, with many
// streams and with one, and is no sooner done.
func (w *writer) try() (bool, error) {
	if w.raw == nil {
		return false, nil
	}
	for len(w.left()) > 0 {
		w.n, w.err = 0, nil
		err := w.raw.Write(w.onReady)
		if err == nil {
			err = w.err
		}
		w.pass(w.n)
		if errors.Is(err, syscall.EAGAIN) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// writeReady gives a socket what it takes; it never has the poller wait.
func (w *writer) writeReady(fd uintptr) bool {
	left := w.left()
	p := left[0].b[w.off:]
	if len(left) == 1 || len(p) >= quickWrite {
		w.n, w.err = sock.Write(int(fd), p[:min(len(p), quickWrite)]) //nolint:gosec // descriptors are small
		return true
	}
	var v sock.Vector
	v.Add(p)
	for i := 1; i < len(left) && v.Len() < quickWrite && v.Add(left[i].b); i++ {
	}
	w.n, w.err = v.Write(int(fd)) //nolint:gosec // descriptors are small
	return true
}

// writeWhenReady is writeReady that has the poller wait.
func (w *writer) writeWhenReady(fd uintptr) bool {
	w.writeReady(fd)
	return !errors.Is(w.err, syscall.EAGAIN)
}

// write writes all, and waits as long as it takes.
func (w *writer) write() error {
	for len(w.left()) > 0 {
		limit := w.timeout
		if w.hurry.Load() {
			limit = lingerTime
		}
		if err := w.nc.SetWriteDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		if limit != lingerTime && w.hurry.Load() { // the end has come meanwhile
			continue
		}
		n, err := w.writeOnce()
		w.pass(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeOnce writes a part of what there is, for which one deadline is enough.
func (w *writer) writeOnce() (int, error) {
	if w.raw != nil {
		w.n, w.err = 0, nil
		err := w.raw.Write(w.onWait)
		if err == nil {
			err = w.err
		}
		return w.n, err
	}
	return sock.WriteAll(w.nc, w.segs[w.at].b[w.off:])
}

// pass drops n bytes that were written.
func (w *writer) pass(n int) {
	for w.at < len(w.segs) {
		s := &w.segs[w.at]
		d := min(n, len(s.b)-w.off)
		n -= d
		if w.off += d; w.off < len(s.b) {
			return
		}
		w.off = 0
		s.free()
		w.at++
	}
	w.segs, w.at = w.segs[:0], 0
}

// drop gives up what was not written.
func (w *writer) drop() {
	for i := range w.left() {
		w.segs[w.at+i].free()
	}
	w.segs, w.at, w.off = w.segs[:0], 0, 0
}

// flush has what was appended written soon. Others who are about to append get to
// run first, so that many frames leave in one write; whoever comes meanwhile leaves
// it to the first. It does not wait for the peer.
func (c *conn) flush() {
	c.mu.Lock()
	if c.out.flushing || c.out.waiting == 0 {
		c.mu.Unlock()
		return
	}
	c.out.flushing = true
	alone := c.busy <= 1
	c.mu.Unlock()
	if !alone {
		runtime.Gosched()
	}
	c.writeOut()
}

// flushNow is flush for the reader, which nobody waits for.
func (c *conn) flushNow() {
	c.mu.Lock()
	if c.out.flushing || c.out.waiting == 0 {
		c.mu.Unlock()
		return
	}
	c.out.flushing = true
	c.mu.Unlock()
	c.writeOut()
}

// writeOut writes until nothing is left, or leaves the rest to a goroutine that may
// wait. The caller has set flushing.
func (c *conn) writeOut() {
	for c.takeOut() {
		done, err := c.w.try()
		if !done && err == nil {
			go c.drainOut() // joined by farewell, which waits while flushing is set
			return
		}
		c.wroteOut(err)
	}
}

// drainOut writes what the peer takes only slowly.
func (c *conn) drainOut() {
	for {
		c.wroteOut(c.w.write())
		if !c.takeOut() {
			return
		}
	}
}

// takeOut gives the writer what waits; false means that there is nothing, and that
// the caller does not flush any more.
func (c *conn) takeOut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.waiting == 0 || c.broken {
		c.out.flushing = false
		if c.ending {
			c.cond.Broadcast()
		}
		if len(c.streams) == 0 && cap(c.w.segs)+cap(c.out.queue) > fewSegments {
			c.w.segs, c.out.queue = nil, nil
		}
		return false
	}
	c.w.segs = c.out.take(c.w.segs)
	return true
}

// wroteOut accounts for a write, and lets content in that waited for it.
func (c *conn) wroteOut(err error) {
	if err != nil {
		c.w.drop()
	}
	c.mu.Lock()
	was := c.out.full()
	c.out.written += int64(c.out.busy.bytes)
	c.out.busy.bytes, c.out.busy.frames, c.out.busy.control = 0, 0, 0
	if err != nil {
		c.breakLocked(err)
	}
	if was {
		c.wakeSenders()
	}
	c.mu.Unlock()
}
