// Package tunnel relays the bytes of an accepted upgrade or CONNECT, whatever HTTP
// version either side speaks.
//
// Relay copies both ways at once, passes the end of one direction on, and returns
// when both have ended, one has failed, or nothing has moved for too long. It must
// not know HTTP.
package tunnel

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
	"github.com/outrigger-mesh/outrigger/proxy/crash"
)

// ErrIdle ends a tunnel in which nothing moved for too long.
var ErrIdle = errors.New("tunnel was idle for too long")

// Idler is an upstream that knows better how long its tunnel may idle; 0 is for ever.
type Idler interface{ IdleTimeout() time.Duration }

// Relay copies both ways until both directions have ended, and returns the bytes
// that went down. An end in one direction is passed on; an error ends both. The
// tunnel may idle for the given time, 0 being no bound, and for half once only one
// direction is left, so that a peer that never closes does not keep it.
func Relay(down, up io.ReadWriteCloser, idle, half time.Duration) (int64, error) {
	if i, ok := up.(Idler); ok {
		idle = i.IdleTimeout()
	}
	t := &tunnel{down: down, up: up}
	t.guard(idle)
	defer t.guardEnd()
	var other error
	upward := make(chan struct{})
	go func() {
		defer close(upward)
		_, other = t.way(up, down, half)
	}()
	n, err := t.way(down, up, half)
	<-upward
	t.close()
	t.bug.Rethrow()
	if t.idled.Load() {
		return n, ErrIdle
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
	bug   crash.Box

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

// way carries one direction. A panic ends both, as an error does; it is Relay's.
func (t *tunnel) way(dst io.Writer, src io.Reader, half time.Duration) (n int64, err error) {
	defer func() {
		if t.bug.Caught() {
			t.close()
		}
	}()
	defer t.bug.Catch()
	n, err = t.copy(dst, src)
	if err != nil {
		t.close()
	} else {
		t.guard(half)
	}
	return n, err
}

// copy moves bytes one way and passes their end on.
func (t *tunnel) copy(dst io.Writer, src io.Reader) (n int64, err error) {
	b := buffer.Get(buffer.Medium)
	defer buffer.Put(b)
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
			return n, CloseWrite(dst)
		}
		if err != nil {
			return n, err
		}
	}
}

// CloseWrite passes an end on: by a half-close, or a close where there is no half.
func CloseWrite(w io.Writer) error {
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
