package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpClosed is the kernel's TCP_CLOSE.
const tcpClosed = 7

// gone reports whether a socket was reset. A failed splice does not say which of
// its two ends broke.
func gone(c *net.TCPConn) bool {
	rc, err := c.SyscallConn()
	if err != nil {
		return true
	}
	state := uint8(tcpClosed)
	_ = rc.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			state = info.State
		}
	})
	return state == tcpClosed
}
