//go:build linux

package poll_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/poll"
)

// pair returns a polled socket and its other end.
func pair(t *testing.T) (*poll.Socket, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, err := poll.Take(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.Close(), far.Close() })
	return s, far.(*net.TCPConn)
}

func newPoller(t *testing.T) *poll.Poller {
	t.Helper()
	p, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// wait returns the next events, which must come within ten seconds.
func wait(t *testing.T, p *poll.Poller) []poll.Event {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		events, err := p.Wait(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) > 0 {
			return events
		}
	}
	t.Fatal("nothing happened")
	return nil
}

func TestWhatIsReadyIsFound(t *testing.T) {
	t.Parallel()
	p := newPoller(t)
	s, far := pair(t)
	if err := p.Add(s.FD(), 7); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("got %v from a silent connection", err)
	}
	_, _ = far.Write([]byte("x"))
	if got := wait(t, p); len(got) != 1 || got[0] != (poll.Event{ID: 7, Read: true}) {
		t.Errorf("got %v", got)
	}
	if n, err := s.Read(make([]byte, 9)); n != 1 || err != nil {
		t.Errorf("read %d: %v", n, err)
	}
	if err := p.AlsoWritten(s.FD(), 7, true); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, p); got[0] != (poll.Event{ID: 7, Written: true}) {
		t.Errorf("got %v", got)
	}
	_ = p.AlsoWritten(s.FD(), 7, false)
	s.Shut()
	if got := wait(t, p); !got[0].Read {
		t.Errorf("got %v at the end", got)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v at the end", err)
	}
}

func TestWaitEndsInTimeOrWhenWoken(t *testing.T) {
	t.Parallel()
	p := newPoller(t)
	start := time.Now()
	for time.Since(start) < 3*time.Millisecond { // a signal may end it early
		if events, err := p.Wait(3*time.Millisecond - time.Since(start)); err != nil || len(events) != 0 {
			t.Fatalf("got %v (%v)", events, err)
		}
	}
	go p.Wake()
	if got := wait(t, p); len(got) != 1 || got[0].ID >= 0 {
		t.Errorf("got %v", got)
	}
	if events, err := p.Wait(0); err != nil || len(events) != 0 {
		t.Errorf("got %v (%v) after having been woken", events, err)
	}
}

func TestOnlyTCPCanBeTaken(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	if _, err := poll.Take(a); err == nil {
		t.Error("a pipe was taken")
	}
}
