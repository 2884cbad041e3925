package upstream

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

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
