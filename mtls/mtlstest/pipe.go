package mtlstest

import (
	"net"
	"os"
	"sync"
	"time"
)

// Pipe is a connection in memory whose writes do not wait for the reader, as
// those of a socket with room in its buffer: both ends of a handshake may write
// at once. It works under testing/synctest.
func Pipe() (a, b net.Conn) {
	one, two := newStream(), newStream()
	return &pipe{in: one, out: two}, &pipe{in: two, out: one}
}

// pipe is one end. Only reads obey deadlines, as only reads wait.
type pipe struct {
	in, out *stream
}

func (p *pipe) Read(b []byte) (int, error)        { return p.in.read(b) }
func (p *pipe) Write(b []byte) (int, error)       { return p.out.write(b) }
func (p *pipe) LocalAddr() net.Addr               { return pipeAddr{} }
func (p *pipe) RemoteAddr() net.Addr              { return pipeAddr{} }
func (p *pipe) SetWriteDeadline(time.Time) error  { return nil }
func (p *pipe) SetDeadline(t time.Time) error     { return p.SetReadDeadline(t) }
func (p *pipe) SetReadDeadline(t time.Time) error { p.in.setDeadline(t); return nil }

func (p *pipe) Close() error {
	p.in.close()
	p.out.close()
	return nil
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// stream is one direction.
type stream struct {
	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	buf      []byte
	closed   bool
	deadline time.Time
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

// wakeLocked makes readers look again.
func (s *stream) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	s.buf = append(s.buf, b...)
	s.wakeLocked()
	return len(b), nil
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wakeLocked()
}

func (s *stream) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	s.wakeLocked()
}

func (s *stream) read(b []byte) (int, error) {
	for {
		s.mu.Lock()
		n := copy(b, s.buf)
		s.buf = s.buf[n:]
		closed, deadline, changed := s.closed, s.deadline, s.changed
		s.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case closed:
			return 0, net.ErrClosed
		}
		if err := wait(changed, deadline); err != nil {
			return 0, err
		}
	}
}

func wait(changed <-chan struct{}, deadline time.Time) error {
	if deadline.IsZero() {
		<-changed
		return nil
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}
