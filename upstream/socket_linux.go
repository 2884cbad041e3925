package upstream

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller is an epoll set that is itself watched by Go's own, so that waiting for it
// takes a goroutine and no thread.
type poller struct {
	file   *os.File
	rc     syscall.RawConn
	events [64]unix.EpollEvent // owned by wait
	ids    [64]uint64          // owned by wait
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd) // the first error counts
		return nil, fmt.Errorf("set epoll non-blocking: %w", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll")} //nolint:gosec // a descriptor is not negative
	if p.rc, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close() // the first error counts
		return nil, fmt.Errorf("watch epoll: %w", err)
	}
	return p, nil
}

// add watches a socket until it is closed. Edge-triggered and without EPOLLIN, the
// kernel passes over ordinary traffic: only the peer's end of stream, a reset or an
// error wakes us, and nothing has to be done when a connection changes hands.
func (p *poller) add(fd uintptr, id uint64) error {
	ev := unix.EpollEvent{
		Events: unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(id), Pad: int32(id >> 32), //nolint:gosec // two halves
	}
	var err error
	if ctl := p.rc.Control(func(ep uintptr) {
		err = unix.EpollCtl(int(ep), unix.EPOLL_CTL_ADD, int(fd), &ev)
	}); ctl != nil {
		return ctl
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// wait returns the ids of sockets that have ended. The slice is good until the next
// call.
func (p *poller) wait() ([]uint64, error) {
	var n int
	var err error
	if rc := p.rc.Read(func(ep uintptr) bool {
		n, err = unix.EpollWait(int(ep), p.events[:], 0)
		if err == unix.EINTR {
			n, err = 0, nil
		}
		return n > 0 || err != nil
	}); rc != nil {
		return nil, rc
	}
	if err != nil {
		return nil, os.NewSyscallError("epoll_wait", err)
	}
	for i := range n {
		ev := &p.events[i]
		p.ids[i] = uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32 //nolint:gosec // two halves
	}
	return p.ids[:n], nil
}

func (p *poller) close() error { return p.file.Close() }

// bindWithoutPort lets the kernel choose the port at connect, when it knows the
// whole four-tuple, instead of at bind, where all upstreams share one range.
func bindWithoutPort(_ context.Context, _, _ string, rc syscall.RawConn) error {
	var err error
	if ctl := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); ctl != nil {
		return ctl
	}
	return os.NewSyscallError("setsockopt", err)
}
