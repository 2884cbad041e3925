package dnat

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// PassthroughSource is the address the proxy binds when it dials its own app at dst: 127.0.0.6, or ::6 for IPv6.
// Rules leave connections from it alone, whoever sends them, so that the last hop to the app is never captured
// again; and the app sees the connection come from there. 127.0.0.6 is local on every machine, ::6 is once the
// capture has been applied (it is added to lo).
func PassthroughSource(dst netip.Addr) netip.Addr {
	if dst.Unmap().Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 6})
	}
	return netip.AddrFrom16([16]byte{15: 6})
}

// BindControl is a net.Dialer.Control for dialers with a LocalAddr that has an address but no port. It lets the
// kernel choose the port at connect time, when the whole 4-tuple is known: without it all upstreams share one range
// of ephemeral ports per source address, about 28,000 connections.
func BindControl(network, _ string, conn syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var optErr error
	if err := conn.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); err != nil {
		return fmt.Errorf("reach socket: %w", err)
	}
	if optErr != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", optErr)
	}
	return nil
}
