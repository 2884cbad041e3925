package http1

import (
	"net"
	"syscall"
	"unsafe"
)

// peek looks at what a socket has to read.
type peek struct {
	raw   syscall.RawConn
	look  func(fd uintptr)
	quiet bool
}

func (p *peek) init(conn net.Conn) {
	if sc, ok := conn.(syscall.Conn); ok {
		p.raw, _ = sc.SyscallConn() // nil means that there is nothing to peek at
		p.look = p.lookAt
	}
}

// check reports whether the socket has neither ended nor something to read.
func (p *peek) check() bool {
	if p.raw == nil {
		return true
	}
	p.quiet = false
	return p.raw.Control(p.look) == nil && p.quiet
}

func (p *peek) lookAt(fd uintptr) { p.quiet = !arrived(fd) }

// arrived reports whether a socket has ended or has something to read.
func arrived(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		if errno != syscall.EINTR {
			return errno != syscall.EAGAIN
		}
	}
}
