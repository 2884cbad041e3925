package http1

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/sock"
)

// errInterrupted ends a wait that another goroutine ended with interrupt.
var errInterrupted = errors.New("read was interrupted")

// errDozed says that a connection is silent.
var errDozed = errors.New("nothing came for a while")

// errBufferFull says that no byte more can be buffered.
var errBufferFull = errors.New("read buffer is full")

// past is a deadline that ends a wait at once.
func past() time.Time { return time.Unix(1, 0) }

// minRoom is the free space below which the bytes that follow a head go to a buffer
// of their own.
const minRoom = 1 << 10

// awake is how long a silent connection keeps its buffer where waiting takes one.
const awake = time.Second

// reader buffers one side of a connection. The bytes of a head stay where they are
// until release, since strings point to them; body bytes pass behind them.
//
// Its deadlines are lazy: one that is armed already and comes early is found out
// when it fires, so that a connection which is never idle for long arms it once and
// not once per request.
type reader struct {
	conn net.Conn
	// raw is nil unless conn is a plain socket. Its wait takes a buffer only when
	// there is something to read.
	raw     syscall.RawConn
	onReady func(fd uintptr) bool
	// below is the socket of a TLS session, or nil. It is waited for in the session's
	// place: without a buffer, and without its frames on the stack.
	below syscall.RawConn

	buf    []byte
	pinned []byte // the buffer of the head, where body bytes have another one
	base   int    // start of what may be overwritten
	r, w   int
	err    error // what ended the stream, once its bytes are read

	ready struct {
		n   int
		err error
	}

	limit   time.Time     // when the present wait ends; zero is never
	perRead time.Duration // limit of each single wait, where positive
	armed   time.Time     // the connection's read deadline

	stop atomic.Bool // set by interrupt
}

func (rd *reader) init(conn net.Conn) {
	rd.conn = conn
	switch c := conn.(type) {
	case *sock.Conn:
		rd.raw, _ = c.SyscallConn()
	case *net.UnixConn:
		rd.raw, _ = c.SyscallConn()
	}
	if rd.raw != nil {
		rd.onReady = rd.readReady
		return
	}
	if c := sock.Under(conn); c != nil {
		rd.below, _ = c.SyscallConn() // nil has idle read for a single byte
	}
}

// avail is the number of bytes that can be had without waiting.
func (rd *reader) avail() int { return rd.w - rd.r }

func (rd *reader) bytes() []byte { return rd.buf[rd.r:rd.w] }

// head reads until parse is content with what is buffered, and pins that. It calls
// parse with all bytes there are, at most once per doubling of them and when the
// end of a head is in sight, so that a trickle costs no more than a flood.
func (rd *reader) head(raw int, parse func([]byte) (int, error)) error {
	tried, searched := 0, 0
	for {
		b := rd.bytes()
		if len(b) > 0 && (len(b) >= 2*tried || endInSight(b[max(0, searched-2):])) {
			n, err := parse(b)
			if err == nil {
				rd.pin(n)
				return nil
			}
			if !errors.Is(err, errIncomplete) {
				return err
			}
			tried = len(b)
		}
		searched = len(b)
		if len(b) >= raw {
			return errTooLarge
		}
		if err := rd.more(raw); err != nil {
			return err
		}
	}
}

// endInSight reports an empty line. One that a bare LF ends is none to the parser,
// but who sent it takes the head for complete and waits.
func endInSight(b []byte) bool {
	return bytes.Contains(b, []byte("\n\r\n")) || bytes.Contains(b, []byte("\n\n"))
}

// more reads at least one byte more of a head.
func (rd *reader) more(raw int) error {
	if rd.w == len(rd.buf) && rd.buf != nil {
		rd.grow(raw)
	}
	return rd.fill()
}

// grow makes room behind the buffered bytes, when nothing is pinned.
func (rd *reader) grow(raw int) {
	if rd.r > 0 {
		rd.w = copy(rd.buf, rd.buf[rd.r:rd.w])
		rd.r = 0
		return
	}
	b := buffer.Get(min(len(rd.buf)*4, max(raw, len(rd.buf)+1)))
	copy(b, rd.buf[:rd.w])
	buffer.Put(rd.buf)
	rd.buf = b
}

// pin keeps the next n bytes in place until release and passes over them.
func (rd *reader) pin(n int) {
	rd.r += n
	rd.base = rd.r
}

// unpin lets the bytes of a head be overwritten.
func (rd *reader) unpin() { rd.base = 0 }

// release gives up the pinned bytes, and the buffer if it is empty.
func (rd *reader) release() {
	if rd.pinned != nil {
		buffer.Put(rd.pinned)
		rd.pinned = nil
	}
	rd.base = 0
	if rd.r < rd.w {
		return
	}
	rd.r, rd.w = 0, 0
	if rd.buf != nil {
		buffer.Put(rd.buf)
		rd.buf = nil
	}
}

// free gives back all memory at the end of the connection.
func (rd *reader) free() {
	rd.r, rd.w = 0, 0
	rd.release()
	if rd.buf != nil {
		buffer.Put(rd.buf)
		rd.buf = nil
	}
	if rd.err == nil {
		rd.err = net.ErrClosed
	}
}

// fill waits for bytes and buffers them behind the ones that are there.
func (rd *reader) fill() error {
	if rd.buf == nil && rd.raw != nil {
		return rd.fillReady()
	}
	if rd.buf == nil {
		rd.buf = buffer.Get(buffer.Small)
	}
	if rd.r == rd.w {
		rd.r, rd.w = rd.base, rd.base
		if len(rd.buf)-rd.w < minRoom && rd.pinned == nil && rd.base > 0 {
			rd.pinned, rd.buf = rd.buf, buffer.Get(buffer.Medium)
			rd.base, rd.r, rd.w = 0, 0, 0
		}
	}
	if rd.w == len(rd.buf) {
		return errBufferFull
	}
	n, err := rd.readConn(rd.buf[rd.w:])
	rd.w += n
	return err
}

// fillReady is fill for a socket and no buffer yet.
func (rd *reader) fillReady() error {
	if rd.err != nil {
		return rd.err
	}
	rd.ready.n, rd.ready.err = 0, nil
	if err := rd.wait(rd.raw, rd.onReady); err != nil {
		return err
	}
	rd.w, rd.err = rd.ready.n, rd.ready.err
	return rd.err
}

// wait has a socket waited for until ready is content.
func (rd *reader) wait(raw syscall.RawConn, ready func(fd uintptr) bool) error {
	for {
		if err := rd.arm(); err != nil {
			return err
		}
		err := raw.Read(ready)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			rd.err = err
			return err
		}
		if err := rd.expired(); err != nil {
			return err
		}
	}
}

// idle is fill for a connection that may stay silent for long.
func (rd *reader) idle() error {
	if rd.raw != nil {
		return rd.fill()
	}
	if err := rd.doze(); !errors.Is(err, errDozed) {
		return err
	}
	if rd.below != nil {
		if err := rd.wait(rd.below, arrived); err != nil {
			return err
		}
		return rd.fill()
	}
	return rd.sip()
}

// doze is fill for what is no socket: it can only wait in a read. After a moment it
// gives its buffer back and returns errDozed.
func (rd *reader) doze() error {
	end, moment := rd.limit, time.Now().Add(awake)
	if end.IsZero() || moment.Before(end) {
		rd.limit = moment
	}
	err := rd.fill()
	short := rd.limit.Equal(moment)
	rd.limit = end
	if !short || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	rd.release()
	return errDozed
}

// sip waits for a single byte, which takes no buffer.
func (rd *reader) sip() error {
	one := make([]byte, 1)
	if _, err := rd.readConn(one); err != nil {
		return err
	}
	rd.buf = buffer.Get(buffer.Small)
	rd.w = copy(rd.buf, one)
	return nil
}

// readReady takes what a socket has; false means that it has nothing yet.
func (rd *reader) readReady(fd uintptr) bool {
	b := buffer.Get(buffer.Medium)
	n, err := sock.Read(int(fd), b) //nolint:gosec // descriptors are small
	if n > 0 {
		rd.buf, rd.ready.n = b, n
		return true
	}
	buffer.Put(b)
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	rd.ready.err = err
	return true
}

// read returns buffered bytes, or else waits for some. A large p is filled from the
// connection without a detour.
func (rd *reader) read(p []byte) (int, error) {
	if rd.r == rd.w {
		if len(p) >= minRoom {
			return rd.readConn(p)
		}
		if err := rd.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, rd.buf[rd.r:rd.w])
	rd.r += n
	return n, nil
}

// readConn reads into p from the connection itself.
func (rd *reader) readConn(p []byte) (int, error) {
	if rd.err != nil {
		return 0, rd.err
	}
	if rd.perRead > 0 {
		rd.limit = time.Now().Add(rd.perRead)
	}
	for {
		if err := rd.arm(); err != nil {
			return 0, err
		}
		n, err := rd.conn.Read(p)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			rd.err = err
		}
		if n > 0 {
			return n, nil
		}
		if rd.err != nil {
			return 0, rd.err
		}
		if err == nil {
			continue
		}
		if err := rd.expired(); err != nil {
			return 0, err
		}
	}
}

// arm sees to it that a deadline fires no later than the present limit.
func (rd *reader) arm() error {
	if !rd.limit.IsZero() && (rd.armed.IsZero() || rd.armed.After(rd.limit)) {
		rd.armed = rd.limit
		if err := rd.conn.SetReadDeadline(rd.limit); err != nil {
			return err
		}
	}
	if rd.stop.Load() {
		return errInterrupted
	}
	return nil
}

// expired is called when the deadline fired: nil means that it was early.
func (rd *reader) expired() error {
	if rd.stop.Load() {
		return errInterrupted
	}
	if !rd.limit.IsZero() && !time.Now().Before(rd.limit) {
		return os.ErrDeadlineExceeded
	}
	rd.armed = rd.limit
	return rd.conn.SetReadDeadline(rd.limit)
}

// interrupt ends a running wait, and all that follow until resume. It may be called
// from any goroutine.
func (rd *reader) interrupt() {
	rd.stop.Store(true)
	_ = rd.conn.SetReadDeadline(past()) // a closed connection does not wait either
}

// resume allows waits again. It is for the goroutine that owns the reader.
func (rd *reader) resume() {
	if !rd.stop.Load() {
		return
	}
	rd.stop.Store(false)
	rd.armed = time.Time{}
	_ = rd.conn.SetReadDeadline(rd.armed)
}
