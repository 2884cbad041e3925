package http2

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/sock"
)

const (
	// minLent is the least content that is passed on as it lies in the reader's
	// slab: less would hold more memory than it is worth.
	minLent = 8 << 10
	// lentShare is which part of a connection's window may wait in that way, so that
	// the slabs that it holds are no larger than the window. What comes beyond is
	// copied, and takes no more room than it has bytes.
	lentShare = buffer.Large / minLent
)

// input buffers what a connection delivers. It belongs to the reader's goroutine.
// While it waits for the first byte of a frame it holds no buffer.
type input struct {
	nc net.Conn
	// raw is nil unless nc is a plain socket, which can be awaited without a buffer.
	raw     syscall.RawConn
	onReady func(fd uintptr) bool
	// pause is called before each wait.
	pause func()

	buf  []byte
	of   *slab // which buf is, once much comes: its content may be lent
	r, w int
	much bool  // comes, so that a slab is worth its memory
	err  error // what ended the stream
	// first is where the first bytes go if nc is no socket.
	first [frameHeadLen]byte

	ready struct {
		n   int
		err error
	}
}

func (in *input) init(nc net.Conn, initial []byte) {
	in.nc = nc
	in.raw = rawOf(nc)
	if in.raw != nil {
		in.onReady = in.readReady
	}
	if n := len(initial); n > 0 {
		in.buf = buffer.Get(max(n, buffer.Medium))
		in.w = copy(in.buf, initial)
	}
}

// rawOf returns the descriptor of a plain socket, or nil. A type that merely embeds
// one may see bytes that the socket does not.
func rawOf(nc net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	switch c := nc.(type) {
	case *net.TCPConn:
		raw, _ = c.SyscallConn()
	case *net.UnixConn:
		raw, _ = c.SyscallConn()
	case *sock.Conn:
		raw, _ = c.SyscallConn()
	}
	return raw
}

func (in *input) avail() int { return in.w - in.r }

// Read is for the Framer.
func (in *input) Read(p []byte) (int, error) {
	if in.r == in.w {
		if err := in.fill(len(p) == frameHeadLen); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	return n, nil
}

// peek waits for n bytes, which are valid until the next call, and no more than a
// frame's payload.
func (in *input) peek(n int) ([]byte, error) {
	for in.w-in.r < n {
		if err := in.fill(false); err != nil {
			return nil, err
		}
	}
	return in.buf[in.r : in.r+n], nil
}

// some waits for a byte at least, and returns at most n.
func (in *input) some(n int) ([]byte, error) {
	if in.r == in.w {
		if err := in.fill(false); err != nil {
			return nil, err
		}
	}
	return in.buf[in.r:min(in.w, in.r+n)], nil
}

func (in *input) skip(n int) { in.r += n }

// fill waits for more bytes behind those that are there. Between two frames it may wait
// for long, and holds no buffer.
func (in *input) fill(between bool) error {
	if in.err != nil {
		return in.err
	}
	in.pause()
	switch {
	case in.r < in.w:
		if in.r > 0 {
			in.shift()
		}
		if in.w == len(in.buf) {
			in.grow()
		}
	case in.raw == nil && between:
		in.free()
	case in.buf != nil:
		in.renew()
	case in.raw == nil:
		in.get()
	}
	n, err := in.wait()
	in.w += n
	if err != nil {
		in.err = err
		return err
	}
	if in.raw != nil && (n >= buffer.Medium || n < minLent) { // TLS gives no more than a record
		in.much = n >= buffer.Medium
	}
	return nil
}

// shift brings what is there to the front of a buffer.
func (in *input) shift() {
	rest := in.buf[in.r:in.w]
	if !in.of.lent() {
		in.r, in.w = 0, copy(in.buf, rest)
		return
	}
	b := newSlab()
	n := copy(b.b, rest)
	in.free()
	in.buf, in.of, in.w = b.b, b, n
}

// renew readies an empty buffer for the next read: behind what of it is lent, where
// that leaves much, or else another one.
func (in *input) renew() {
	switch {
	case in.of == nil && in.much, in.of.lent() && len(in.buf)-in.w < buffer.Large/2:
		in.free()
		in.get()
	case in.of.lent():
		in.r = in.w
	default:
		in.r, in.w = 0, 0
	}
}

// get takes an empty buffer.
func (in *input) get() {
	if !in.much {
		in.buf = buffer.Get(buffer.Medium)
		return
	}
	in.of = newSlab()
	in.buf = in.of.b
}

// lends reports whether p, which was read, may be passed on as it lies.
func (in *input) lends(p []byte) bool { return in.of != nil && len(p) >= minLent }

func (in *input) grow() {
	b := buffer.Get(len(in.buf) + 1)
	n := copy(b, in.buf[:in.w])
	in.free()
	in.buf, in.w = b, n
}

func (in *input) wait() (int, error) {
	if in.raw == nil {
		return in.waitRead()
	}
	in.ready.n, in.ready.err = 0, nil
	if err := in.raw.Read(in.onReady); err != nil {
		return 0, err
	}
	return in.ready.n, in.ready.err
}

// waitRead waits in a read, for a frame's first bytes with next to no memory.
func (in *input) waitRead() (int, error) {
	if in.buf != nil {
		return in.nc.Read(in.buf[in.w:])
	}
	n, err := in.nc.Read(in.first[:])
	if n == 0 {
		return 0, err
	}
	in.get()
	return copy(in.buf, in.first[:n]), nil
}

// readReady takes what a socket has; false means that it has nothing yet.
func (in *input) readReady(fd uintptr) bool {
	if in.buf == nil {
		in.get()
	}
	n, err := sock.Read(int(fd), in.buf[in.w:]) //nolint:gosec // descriptors are small
	if errors.Is(err, syscall.EAGAIN) {
		if in.r == in.w {
			in.free()
		}
		return false
	}
	in.ready.n, in.ready.err = n, err
	return true
}

// free gives the buffer back.
func (in *input) free() {
	switch {
	case in.of != nil:
		in.of.drop()
	case in.buf != nil:
		buffer.Put(in.buf)
	}
	in.buf, in.of = nil, nil
	in.r, in.w = 0, 0
}

// interrupted reports whether the wait was ended by a deadline, which the
// connection's owner sets to end it.
func interrupted(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
