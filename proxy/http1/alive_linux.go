package http1

import (
	"crypto/tls"
	"net"
	"syscall"
	"unsafe"
)

// aliveCheck peeks at a socket.
type aliveCheck struct {
	raw   syscall.RawConn
	tls   bool
	peek  func(fd uintptr)
	alive bool
}

func (a *aliveCheck) init(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn, a.tls = t.NetConn(), true
	}
	if sc, ok := conn.(syscall.Conn); ok {
		a.raw, _ = sc.SyscallConn() // nil means that there is nothing to peek at
		a.peek = a.look
	}
}

// check reports whether the socket has neither ended nor something to read. Under
// TLS a session ticket may be waiting, so bytes do not speak against it.
func (a *aliveCheck) check() bool {
	if a.raw == nil {
		return true
	}
	a.alive = false
	return a.raw.Control(a.peek) == nil && a.alive
}

func (a *aliveCheck) look(fd uintptr) {
	var b [1]byte
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		a.alive = true
	case errno == 0 && n > 0:
		a.alive = a.tls
	}
}
