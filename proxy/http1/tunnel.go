package http1

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// errTunnelIdle ends a tunnel in which nothing moved for too long.
var errTunnelIdle = errors.New("tunnel was idle for too long")

// relay copies both ways until both directions have ended, and returns the bytes
// that went down. An end in one direction is passed on; an error ends both. The
// tunnel may idle for the given time, 0 being no bound, and for half once only one
// direction is left, so that a peer that never closes does not keep it.
func relay(down, up io.ReadWriteCloser, idle, half time.Duration) (int64, error) {
	t := &tunnel{down: down, up: up}
	t.guard(idle)
	defer t.guardEnd()
	upward := make(chan error, 1)
	go func() {
		_, err := t.copy(up, down)
		if err != nil {
			t.close()
		} else {
			t.guard(half)
		}
		upward <- err
	}()
	n, err := t.copy(down, up)
	if err != nil {
		t.close()
	} else {
		t.guard(half)
	}
	other := <-upward
	t.close()
	if t.idled.Load() {
		return n, errTunnelIdle
	}
	if err == nil || errors.Is(err, net.ErrClosed) && other != nil {
		err = other
	}
	return n, err
}

type tunnel struct {
	down, up io.ReadWriteCloser

	moved atomic.Bool // since the guard looked last
	idled atomic.Bool

	mu    sync.Mutex
	timer *time.Timer   // guarded by mu
	limit time.Duration // guarded by mu
}

// guard closes the tunnel when nothing moved for d. The later call wins.
func (t *tunnel) guard(d time.Duration) {
	if d <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = d
	t.moved.Store(true)
	if t.timer == nil {
		t.timer = time.AfterFunc(d, t.look)
	} else {
		t.timer.Reset(d)
	}
}

func (t *tunnel) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.limit == 0 {
		return
	}
	if t.moved.Swap(false) {
		t.timer.Reset(t.limit)
		return
	}
	t.idled.Store(true)
	t.close()
}

func (t *tunnel) guardEnd() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = 0
	if t.timer != nil {
		t.timer.Stop()
	}
}

func (t *tunnel) close() {
	_ = t.down.Close() // both ends are given up: the cause is known already
	_ = t.up.Close()
}

// copy moves bytes one way and passes their end on.
func (t *tunnel) copy(dst io.Writer, src io.Reader) (n int64, err error) {
	b := getBuffer(mediumBuffer)
	defer putBuffer(b)
	for {
		got, err := src.Read(b)
		if got > 0 {
			t.moved.Store(true)
			put, err := dst.Write(b[:got])
			n += int64(put)
			if err != nil {
				return n, err
			}
		}
		if errors.Is(err, io.EOF) {
			return n, closeWrite(dst)
		}
		if err != nil {
			return n, err
		}
	}
}

// closeWrite passes an end on: by a half-close, or a close where there is no half.
func closeWrite(w io.Writer) error {
	half, ok := w.(interface{ CloseWrite() error })
	if !ok {
		if c, ok := w.(io.Closer); ok {
			return c.Close()
		}
		return nil
	}
	if err := half.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// stream is a connection as a plain stream of bytes, from the first byte that was
// not parsed.
type stream struct {
	conn net.Conn
	rd   *reader
}

// Read returns bytes that were buffered before those of the connection.
func (s *stream) Read(p []byte) (int, error) { return s.rd.read(p) }

// Write sends bytes.
func (s *stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// Close ends both directions.
func (s *stream) Close() error { return s.conn.Close() }

// CloseWrite tells the other end that no more bytes come.
func (s *stream) CloseWrite() error { return closeWrite(s.conn) }
