// Package poll waits for sockets in a thread of its own, for those to whom Go's
// scheduler would cost more than their work: the benchmark's generator and backend.
// Waking a goroutine for each message takes some tens of microseconds of CPU where
// little else runs, and that would be taken from the proxies that are measured.
//
// Its life: New makes an epoll set; Add watches descriptors; Wait, called by one
// locked goroutine, returns what can be read or written, with timeouts to the
// nanosecond; Wake makes it return from anywhere; Close ends it.
//
// It must not know what is sent.
package poll

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supported says whether there is a poller on this system.
const Supported = true

// Event says what can be done with a descriptor.
type Event struct {
	ID            int32 // as given to Add; negative is a call of Wake
	Read, Written bool  // there is something to read or an end; it can be written again
}

const (
	batch    = 128
	wakeID   = -1
	readable = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// Poller is an epoll set. Wait is for one goroutine, the rest for all.
type Poller struct {
	epoll, wake int // immutable

	events [batch]unix.EpollEvent // owned by Wait
	found  [batch]Event           // owned by Wait
	limit  unix.Timespec          // owned by Wait
	self   unix.PollFd            // owned by Wait
	coarse bool                   // owned by Wait; the kernel has no epoll_pwait2
}

// New returns an empty poller.
func New() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &Poller{epoll: epoll, wake: wake}
	if err := p.Add(wake, wakeID); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Precise locks the caller to its thread, which then sleeps as exactly as the kernel
// can: by default it adds up to 50 µs. The thread ends with the goroutine.
func Precise() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// Add watches a descriptor, which must not block, for something to read.
func (p *Poller) Add(fd int, id int32) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, id, readable)
}

// AlsoWritten watches it, or no longer, for room to write too.
func (p *Poller) AlsoWritten(fd int, id int32, also bool) error {
	if also {
		return p.control(unix.EPOLL_CTL_MOD, fd, id, readable|unix.EPOLLOUT)
	}
	return p.control(unix.EPOLL_CTL_MOD, fd, id, readable)
}

func (p *Poller) control(op, fd int, id int32, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: id}))
}

// Wake makes Wait return.
func (p *Poller) Wake() {
	one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1} // not 0, whatever the order of bytes
	_, _ = unix.Write(p.wake, one[:])
}

// Wait returns what is ready, after a time in any case; negative is for ever. The
// events are valid until the next call.
func (p *Poller) Wait(timeout time.Duration) ([]Event, error) {
	n, errno := p.wait(timeout)
	if errno != 0 && errno != syscall.EINTR {
		return nil, os.NewSyscallError("epoll_wait", errno)
	}
	if errno != 0 {
		n = 0
	}
	for i := range n {
		e := &p.events[i]
		p.found[i] = Event{ID: e.Fd, Read: e.Events&readable != 0, Written: e.Events&unix.EPOLLOUT != 0}
		if e.Fd == wakeID {
			var word [8]byte
			_, _ = unix.Read(p.wake, word[:])
		}
	}
	return p.found[:n], nil
}

// wait fills p.events. What the kernel is pointed at is part of the Poller: a variable of
// this function could move with its stack.
func (p *Poller) wait(timeout time.Duration) (int, syscall.Errno) {
	var limit unsafe.Pointer
	if timeout >= 0 {
		p.limit = unix.NsecToTimespec(int64(timeout))
		limit = unsafe.Pointer(&p.limit)
	}
	if !p.coarse {
		n, errno := p.call(unix.SYS_EPOLL_PWAIT2, [4]uintptr{uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), batch, uintptr(limit)})
		if errno != syscall.ENOSYS {
			return n, errno
		}
		p.coarse = true
	}
	p.self = unix.PollFd{Fd: int32(p.epoll), Events: unix.POLLIN} //nolint:gosec // descriptors are small
	n, errno := p.call(unix.SYS_PPOLL, [4]uintptr{uintptr(unsafe.Pointer(&p.self)), 1, uintptr(limit), 0})
	if errno != 0 || n == 0 {
		return 0, errno
	}
	return p.call(unix.SYS_EPOLL_PWAIT, [4]uintptr{uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), batch, 0})
}

func (p *Poller) call(number uintptr, args [4]uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall6(number, args[0], args[1], args[2], args[3], 0, 0)
	runtime.KeepAlive(p)
	return int(n), errno
}

// Close ends the poller; nobody may be waiting.
func (p *Poller) Close() error { return errors.Join(unix.Close(p.wake), unix.Close(p.epoll)) }
