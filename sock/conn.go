package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// maxQuick is the most that is moved in one call which the scheduler does not know
// of: some 50 µs of copying, for which the world may have to wait to be stopped. A
// call that the monitor sees blocked for 20 µs keeps it awake, and that costs a tenth
// of the CPU of bulk traffic.
const maxQuick = bulkWrite

// Conn is a TCP socket with quick reads and writes.
type Conn struct {
	*net.TCPConn

	raw   syscall.RawConn // immutable
	ahead atomic.Bool

	r, w     half
	stock    stock  // guarded by r.mu
	gathered []byte // guarded by w.mu; nil unless gather was called
}

// half is one direction. Its closure is made once.
type half struct {
	mu    sync.Mutex // one call at a time, as in the socket itself
	ready func(fd uintptr) bool
	p     []byte
	n     int
	err   error
}

// Wrap makes reads and writes quick where conn is a TCP socket, and returns
// anything else as it is.
func Wrap(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	c := &Conn{TCPConn: tcp, raw: raw}
	c.r.ready, c.w.ready = c.readReady, c.writeReady
	return c
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return c.TCPConn.Read(p)
	}
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if c.stock.buf != nil {
		return c.stock.take(p), nil
	}
	p = p[:min(len(p), maxQuick)]
	return c.r.do(p, c.raw.Read)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if done, err := c.put(p); done {
		if err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if len(p) == 0 || len(p) > maxQuick {
		return c.TCPConn.Write(p)
	}
	return c.w.do(p, c.raw.Write)
}

// do moves p with the poller's help. The caller holds mu.
func (h *half) do(p []byte, poll func(func(uintptr) bool) error) (int, error) {
	h.p, h.n, h.err = p, 0, nil
	err := poll(h.ready)
	n := h.n
	if err == nil {
		err = h.err
	}
	h.p = nil
	return n, err
}

func (c *Conn) readReady(fd uintptr) bool {
	var n int
	var err error
	if p := c.r.p; len(p) < bulkRead && c.ahead.Load() {
		n, err = c.readAhead(int(fd), p) //nolint:gosec // descriptors are small
	} else {
		n, err = Read(int(fd), p) //nolint:gosec // descriptors are small
	}
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	c.r.n, c.r.err = n, err
	return true
}

func (c *Conn) writeReady(fd uintptr) bool {
	for w := &c.w; w.n < len(w.p); {
		n, err := Write(int(fd), w.p[w.n:]) //nolint:gosec // descriptors are small
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil:
			w.err = err
			return true
		}
		w.n += n
	}
	return true
}

// Read takes what a socket has. It is for those who wait for readability
// themselves: syscall.EAGAIN says that there is nothing yet, io.EOF is the end.
func Read(fd int, p []byte) (int, error) {
	for {
		n, errno := read(fd, p)
		if errno != syscall.EINTR {
			return outcome("read", n, errno, io.EOF)
		}
	}
}

// Write gives a socket what it takes; syscall.EAGAIN says that it takes nothing now.
func Write(fd int, p []byte) (int, error) {
	for {
		n, errno := write(fd, p)
		if errno != syscall.EINTR {
			return outcome("write", n, errno, io.ErrUnexpectedEOF)
		}
	}
}

// outcome is what a system call returned, as Go says it. none is the error of a call
// that moved nothing.
func outcome(call string, n int, errno syscall.Errno, none error) (int, error) {
	switch {
	case errno == syscall.EAGAIN:
		return 0, errAgain
	case errno != 0:
		return 0, os.NewSyscallError(call, errno)
	case n == 0:
		return 0, none
	}
	return n, nil
}

// errAgain is syscall.EAGAIN in an interface made once.
var errAgain error = syscall.EAGAIN
