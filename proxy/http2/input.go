package http2

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/outrigger-mesh/outrigger/sock"
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
	r, w int
	bulk bool  // the last read filled the buffer
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
		in.buf = getBuffer(max(n, mediumBuffer))
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
			in.w = copy(in.buf, in.buf[in.r:in.w])
			in.r = 0
		}
		if in.w == len(in.buf) {
			in.grow()
		}
	case in.raw == nil && between:
		in.free()
	case in.buf != nil:
		in.r, in.w = 0, 0
		in.adapt()
	case in.raw == nil:
		in.buf = getBuffer(mediumBuffer)
	}
	n, err := in.wait()
	in.w += n
	if err != nil {
		in.err = err
		return err
	}
	in.bulk = in.w == len(in.buf)
	return nil
}

// adapt takes a larger buffer after a read that filled a smaller one.
func (in *input) adapt() {
	if in.bulk && len(in.buf) < largeBuffer {
		putBuffer(in.buf)
		in.buf = getBuffer(largeBuffer)
	}
}

func (in *input) grow() {
	b := getBuffer(len(in.buf) + 1)
	copy(b, in.buf[:in.w])
	putBuffer(in.buf)
	in.buf = b
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
	in.buf = getBuffer(mediumBuffer)
	return copy(in.buf, in.first[:n]), nil
}

// readReady takes what a socket has; false means that it has nothing yet.
func (in *input) readReady(fd uintptr) bool {
	if in.buf == nil {
		in.buf = getBuffer(mediumBuffer)
	}
	n, err := sock.Read(int(fd), in.buf[in.w:]) //nolint:gosec // descriptors are small
	if errors.Is(err, syscall.EAGAIN) {
		if in.w == 0 {
			in.free()
		}
		return false
	}
	in.ready.n, in.ready.err = n, err
	return true
}

// free gives the buffer back.
func (in *input) free() {
	if in.buf != nil {
		putBuffer(in.buf)
		in.buf = nil
	}
	in.r, in.w = 0, 0
}

// interrupted reports whether the wait was ended by a deadline, which the
// connection's owner sets to end it.
func interrupted(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
