package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The back-off of an accept loop that is out of descriptors or memory.
const (
	acceptBackoffMin = 5 * time.Millisecond
	acceptBackoffMax = time.Second
)

// accept feeds a socket's connections to its listener until the socket is closed.
func (ls *Listeners) accept(b *binding) {
	var pause time.Duration
	for {
		raw, err := b.socket.Accept()
		if err == nil {
			pause = 0
			l := b.listener.Load()
			ls.wg.Go(func() { l.serve(ls.ctx, ls, raw) })
			continue
		}
		if errors.Is(err, net.ErrClosed) || ls.ctx.Err() != nil {
			return
		}
		if errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EINTR) {
			continue
		}
		if pause == 0 {
			ls.o.Logger.Error("cannot accept connections, backing off", "listener", b.listener.Load().Name(), "error", err)
		}
		pause = min(max(2*pause, acceptBackoffMin), acceptBackoffMax)
		if !sleep(ls.ctx, pause) {
			return
		}
	}
}

// sleep waits, and reports false where the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// listen opens a TCP socket of the address's own family. Keep-alive probes stay
// off, as in Envoy: the idle timeouts find dead peers.
func listen(ctx context.Context, addr netip.AddrPort, transparent bool) (net.Listener, error) {
	network := "tcp6"
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	lc := net.ListenConfig{KeepAlive: -1}
	if transparent {
		lc.Control = func(_, _ string, rc syscall.RawConn) error {
			var err error
			if cerr := rc.Control(func(fd uintptr) { err = setTransparent(int(fd), addr.Addr().Is4()) }); cerr != nil {
				return cerr
			}
			return err
		}
	}
	return lc.Listen(ctx, network, addr.String())
}

// setTransparent lets a socket take connections to foreign addresses (TPROXY).
func setTransparent(fd int, v4 bool) error {
	if v4 {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
}
