//go:build linux

// Package socktest makes what a test wants from the kernel's sockets and gets from
// no listener: an address that stays closed, and the moment at which a peer's end
// has arrived. It must not be imported by product code.
package socktest

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Deaf is an address on loopback that refuses connections until the test ends. The
// port of a listener that was closed would not do: the next listener may get it.
func Deaf(tb testing.TB) netip.AddrPort {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		tb.Fatal(err)
	}
	at := name.(*unix.SockaddrInet4) //nolint:forcetypeassert // it was bound to one
	return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
}

// Ended reports whether the peer's end has arrived at a TCP socket, be it that
// something waits to be read before it.
func Ended(tb testing.TB, conn net.Conn) bool {
	tb.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	var ended bool
	if err := raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}} //nolint:gosec // a descriptor is that small
		_, _ = unix.Poll(fds, 0)
		ended = fds[0].Revents != 0
	}); err != nil {
		tb.Fatal(err)
	}
	return ended
}
