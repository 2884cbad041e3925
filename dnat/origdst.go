package dnat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// soOriginalDst is SO_ORIGINAL_DST at level SOL_IP and IP6T_SO_ORIGINAL_DST at level IPPROTO_IPV6.
const soOriginalDst = 80

// OriginalDst is the destination the peer of an accepted connection dialled, before any redirect, never in mapped
// form and without a zone.
//
// For a connection that was not redirected it is the local address, whether conntrack knows the connection (the
// kernel then answers with it) or not (ENOENT). "Was it redirected" is therefore the question whether the result
// differs from the local address, never whether the call failed. A connection dialled straight at a capture port
// has that port in its result and must be refused by the caller.
func OriginalDst(c *net.TCPConn) (netip.AddrPort, error) {
	tcp, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, errors.New("connection has no local address")
	}
	local := tcp.AddrPort()
	addr := local.Addr().Unmap().WithZone("")
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("reach socket: %w", err)
	}
	q := query{mapped: addr.Is4()}
	if err := raw.Control(q.run); err != nil {
		return netip.AddrPort{}, fmt.Errorf("reach socket: %w", err)
	}
	switch {
	case q.errno == 0:
		return q.got, nil
	case missing(q.errno):
		return netip.AddrPortFrom(addr, local.Port()), nil
	default:
		return netip.AddrPort{}, fmt.Errorf("read SO_ORIGINAL_DST: %w", q.errno)
	}
}

// query is one question to the kernel. It stays on the stack: the compiler sees through SyscallConn and Control.
type query struct {
	mapped bool // ask for IPv4 first
	sa     unix.RawSockaddrInet6
	got    netip.AddrPort
	errno  unix.Errno
}

// run asks at the level of the peer's family first: a dual-stack socket with a mapped peer answers at SOL_IP only.
func (q *query) run(fd uintptr) {
	first, second := unix.IPPROTO_IPV6, unix.SOL_IP
	if q.mapped {
		first, second = second, first
	}
	if q.errno = q.read(fd, first); missing(q.errno) {
		q.errno = q.read(fd, second)
	}
}

// missing tells that the kernel has no answer at this level. EOPNOTSUPP and ENOPROTOOPT come from the level that
// does not fit the socket or is not in the kernel.
func missing(errno unix.Errno) bool {
	return errno == unix.ENOENT || errno == unix.EOPNOTSUPP || errno == unix.ENOPROTOOPT
}

func (q *query) read(fd uintptr, level int) unix.Errno {
	q.sa = unix.RawSockaddrInet6{}
	size := uint32(unix.SizeofSockaddrInet6)
	if level == unix.SOL_IP {
		size = unix.SizeofSockaddrInet4
	}
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), soOriginalDst,
		uintptr(unsafe.Pointer(&q.sa)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	switch q.sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&q.sa))
		q.got = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), swapped(v4.Port))
	case unix.AF_INET6:
		q.got = netip.AddrPortFrom(netip.AddrFrom16(q.sa.Addr).Unmap(), swapped(q.sa.Port))
	default:
		return unix.EAFNOSUPPORT
	}
	return 0
}

// swapped reads a field the kernel filled in network order.
func swapped(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
