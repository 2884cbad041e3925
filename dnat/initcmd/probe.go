package initcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/dnat"
)

const (
	probeAttempt  = time.Second
	probeInterval = 100 * time.Millisecond
)

// probe dials a port nobody listens on as the proxy would dial its own pod, and waits for the connection on the
// inbound capture port.
type probe struct {
	ports  dnat.CapturePorts
	target uint16
	uid    []uint32
	log    *slog.Logger
}

// probeFamilies follows istio-validation: the family of the pod's first address, both if both are meant. The rules
// may have been written by Istio's CNI plugin, which captures no more than that.
func probeFamilies(addrs []netip.Addr, both bool) []dnat.Family {
	var families []dnat.Family
	for _, a := range addrs {
		family := dnat.IPv4
		if a.Is6() {
			family = dnat.IPv6
		}
		if len(families) == 0 || both && len(families) == 1 && families[0] != family {
			families = append(families, family)
		}
	}
	if len(families) == 0 {
		return []dnat.Family{dnat.IPv4}
	}
	return families
}

func (p *probe) run(ctx context.Context, family dnat.Family) error {
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if family == dnat.IPv6 {
		local = netip.IPv6Loopback()
	}
	arrived := make(chan netip.AddrPort)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, port := range []uint16{p.ports.Outbound, p.ports.Inbound} {
		l, err := net.Listen("tcp", netip.AddrPortFrom(local, port).String())
		if err != nil {
			return fmt.Errorf("listen where the proxy will: %w", err)
		}
		stop := context.AfterFunc(ctx, func() { _ = l.Close() })
		wg.Go(func() {
			defer stop()
			p.accept(ctx, l, port, arrived)
		})
	}
	return p.dial(ctx, local, arrived)
}

// accept reports what reaches the inbound capture port. The outbound one listens so that a wrong rule shows as a
// wrong arrival and not as a refusal.
func (p *probe) accept(ctx context.Context, l net.Listener, port uint16, arrived chan<- netip.AddrPort) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		var orig netip.AddrPort
		if tcp, ok := conn.(*net.TCPConn); ok {
			orig, err = dnat.OriginalDst(tcp)
		}
		_ = conn.Close()
		if err != nil || port != p.ports.Inbound {
			p.log.Debug("probe arrived wrongly", "port", port, "destination", orig, "error", err)
			continue
		}
		select {
		case arrived <- orig:
		case <-ctx.Done():
			return
		}
	}
}

func (p *probe) dial(ctx context.Context, local netip.Addr, arrived <-chan netip.AddrPort) error {
	target := netip.AddrPortFrom(dnat.PassthroughSource(local), p.target)
	var last error
	for {
		if err := p.connect(ctx, local, target); err != nil {
			last = err
		}
		wait := time.NewTimer(probeInterval)
		select {
		case orig := <-arrived:
			wait.Stop()
			if orig.Port() == p.target {
				return nil
			}
			last = fmt.Errorf("arrived with original destination %v", orig)
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return fmt.Errorf("a connection to %v did not arrive at port %d with its original port: %w (last attempt: %w). "+
				"The rules are missing, or this process does not run as the proxy's user %v", target, p.ports.Inbound,
				context.Cause(ctx), orUnknown(last), p.uid)
		}
	}
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("connected, but elsewhere")
	}
	return err
}

// connect dials as the proxy's user where it may choose, for the rules ask who owns the socket.
func (p *probe) connect(ctx context.Context, local netip.Addr, target netip.AddrPort) error {
	if os.Geteuid() == 0 && len(p.uid) > 0 && p.uid[0] != 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, _ = unix.SetfsuidRetUid(int(p.uid[0])) // refused without CAP_SETUID: then the dial tells
		defer func() { _, _ = unix.SetfsuidRetUid(0) }()
	}
	d := net.Dialer{Timeout: probeAttempt, LocalAddr: &net.TCPAddr{IP: local.AsSlice()}}
	conn, err := d.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return err
	}
	return conn.Close()
}
