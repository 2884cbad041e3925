package http1

import (
	"crypto/tls"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// oneRecord is content that fits into one record of TLS, whichever size the session
// chooses for its records.
const oneRecord = 1 << 10

// refusal is how long the refusal of a request may take that went to an upstream which
// had closed already: a round trip.
const refusal = 100 * time.Millisecond

// untaken reports whether an upstream that has ended the stream of its bytes did so
// before its kernel had taken any byte of the request: it answers the request with a
// reset, and what it acknowledged does not cover the request, so that no application
// has seen it. (A server that closes takes no further request: RFC 9112 section 9.6.)
// A request in several records of TLS is not judged.
func (c *ClientConn) untaken(wrote int64) bool {
	conn, least := c.conn, wrote
	if session, ok := conn.(*tls.Conn); ok {
		below, ok := session.NetConn().(*beneath)
		if !ok || wrote > oneRecord {
			return false
		}
		conn, least = below.Conn, wrote+1
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	refused := false
	err = raw.Control(func(fd uintptr) { refused = reset(int32(fd)) && unacknowledged(int(fd)) >= least }) //nolint:gosec // descriptors are small
	return err == nil && refused
}

// reset waits for the peer's reset.
func reset(fd int32) bool {
	fds := []unix.PollFd{{Fd: fd}}
	_, err := unix.Poll(fds, int(refusal.Milliseconds()))
	return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// unacknowledged is how many bytes were written that the peer's kernel has not
// acknowledged.
func unacknowledged(fd int) int64 {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return int64(n)
}
