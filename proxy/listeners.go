package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what the listeners need from outside.
type Options struct {
	Logger *slog.Logger
	// OriginalDst asks the kernel where a redirected connection was meant to go.
	OriginalDst func(*net.TCPConn) (netip.AddrPort, error)
	// Listen opens a socket; nil is the real one.
	Listen func(context.Context, netip.AddrPort, bool) (net.Listener, error)
	// HoldTime is how long a connection waits for a listener's first
	// configuration, MaxHeld how many may.
	HoldTime time.Duration
	MaxHeld  int
	// DualStack opens [::]:port beside 0.0.0.0:port.
	DualStack bool
}

// Entry is one listening address of the configuration.
type Entry struct {
	Address netip.AddrPort
	// Bind opens a socket; without it the listener takes handed-over connections.
	Bind        bool
	Transparent bool
	Listener    *Listener
}

// Listeners is the registry of all listeners by address, and owns their sockets.
type Listeners struct {
	o Options // immutable

	// Panics counts connections that ended in a recovered panic.
	Panics atomic.Uint64

	nextID atomic.Uint64
	held   atomic.Int64
	drains atomic.Bool
	byAddr atomic.Pointer[map[netip.AddrPort]Entry]

	ctx    context.Context //nolint:containedctx // the life of the accept loops, ended by Drain
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// guarded by mu
	mu      sync.Mutex
	bound   map[netip.AddrPort]*binding
	every   map[*Listener]struct{} // of the configuration
	retired map[*Listener]struct{} // removed, but perhaps still with connections
	closed  bool
	// inboundOver is set when no inbound connection is to be taken any more.
	inboundOver bool
}

// binding is one open socket and the listener it feeds.
type binding struct {
	socket   net.Listener
	listener atomic.Pointer[Listener]
}

// NewListeners makes an empty registry.
func NewListeners(o Options) *Listeners {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Listen == nil {
		o.Listen = listen
	}
	if o.HoldTime <= 0 {
		o.HoldTime = 30 * time.Second
	}
	if o.MaxHeld <= 0 {
		o.MaxHeld = 1024
	}
	ls := &Listeners{o: o, bound: map[netip.AddrPort]*binding{}, every: map[*Listener]struct{}{}, retired: map[*Listener]struct{}{}}
	ls.ctx, ls.cancel = context.WithCancel(context.Background())
	ls.byAddr.Store(&map[netip.AddrPort]Entry{})
	return ls
}

// For finds the listener that a connection to dst is handed to: that of the exact
// address, else that of the wildcard address of its family, else nil. A wildcard
// listener with a socket of its own takes no handed-over connection, so that
// nobody reaches a local port by dialling it elsewhere.
func (ls *Listeners) For(dst netip.AddrPort) *Listener {
	if !dst.IsValid() {
		return nil
	}
	byAddr := *ls.byAddr.Load()
	addr := dst.Addr().Unmap()
	if e, ok := byAddr[netip.AddrPortFrom(addr, dst.Port())]; ok {
		return e.Listener
	}
	wildcard := netip.IPv6Unspecified()
	if addr.Is4() {
		wildcard = netip.IPv4Unspecified()
	}
	if e, ok := byAddr[netip.AddrPortFrom(wildcard, dst.Port())]; ok && !e.Bind {
		return e.Listener
	}
	return nil
}

// Update swaps the set of listeners: sockets that are new are opened, those that
// are gone are closed and their connections drained; an address that keeps its
// socket is not disturbed. Every entry that can be served is; the error joins what
// could not be bound.
func (ls *Listeners) Update(entries []Entry) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return net.ErrClosed
	}
	byAddr := make(map[netip.AddrPort]Entry, len(entries))
	every := make(map[*Listener]struct{}, len(entries))
	var errs []error
	for _, e := range entries {
		e.Address = netip.AddrPortFrom(e.Address.Addr().Unmap(), e.Address.Port())
		byAddr[e.Address] = e
		every[e.Listener] = struct{}{}
		e.Listener.revive()
		delete(ls.retired, e.Listener)
		if e.Bind {
			errs = append(errs, ls.bind(e))
		}
	}
	ls.byAddr.Store(&byAddr)
	ls.release(byAddr)
	ls.retire(every)
	ls.every = every
	return errors.Join(errs...)
}

// retire drains the listeners that are not among every, and forgets those that
// have drained.
func (ls *Listeners) retire(every map[*Listener]struct{}) {
	for l := range ls.retired {
		if l.Active() == 0 {
			delete(ls.retired, l)
		}
	}
	for l := range ls.every {
		if _, still := every[l]; !still {
			l.retire()
			ls.retired[l] = struct{}{}
		}
	}
}

// release closes the sockets that no entry asks for.
func (ls *Listeners) release(wanted map[netip.AddrPort]Entry) {
	for addr, b := range ls.bound {
		e, ok := wanted[addr]
		if twin, isTwin := ls.twinOf(addr, wanted); isTwin && !ok {
			e, ok = twin, true
		}
		if !ok || !e.Bind {
			_ = b.socket.Close()
			delete(ls.bound, addr)
		}
	}
}

// twinOf finds the IPv4 wildcard entry that an IPv6 wildcard socket was opened for.
func (ls *Listeners) twinOf(addr netip.AddrPort, wanted map[netip.AddrPort]Entry) (Entry, bool) {
	if !ls.o.DualStack || addr.Addr() != netip.IPv6Unspecified() {
		return Entry{}, false
	}
	e, ok := wanted[netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())]
	return e, ok
}

// bind opens the socket of an entry, or gives the open one its listener.
func (ls *Listeners) bind(e Entry) error {
	err := ls.open(e.Address, e)
	if err != nil {
		return fmt.Errorf("listener %s: %w", e.Listener.Name(), err)
	}
	if ls.o.DualStack && e.Address.Addr() == netip.IPv4Unspecified() {
		twin := netip.AddrPortFrom(netip.IPv6Unspecified(), e.Address.Port())
		if err := ls.open(twin, e); err != nil {
			ls.o.Logger.Warn("no IPv6 socket beside the IPv4 one", "address", twin, "error", err)
		}
	}
	return nil
}

func (ls *Listeners) open(addr netip.AddrPort, e Entry) error {
	if b, ok := ls.bound[addr]; ok {
		b.listener.Store(e.Listener)
		return nil
	}
	if ls.inboundOver && inbound(e.Listener) {
		return nil
	}
	socket, err := ls.o.Listen(ls.ctx, addr, e.Transparent)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	b := &binding{socket: socket}
	b.listener.Store(e.Listener)
	ls.bound[addr] = b
	ls.wg.Go(func() { ls.accept(b) })
	return nil
}

// Addr is the address that a bound entry really listens on, which tells the port
// where 0 was asked for.
func (ls *Listeners) Addr(configured netip.AddrPort) netip.AddrPort {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if b, ok := ls.bound[configured]; ok {
		return addrPort(b.socket.Addr())
	}
	return netip.AddrPort{}
}

// All lists the registered listeners.
func (ls *Listeners) All() []*Listener {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := make([]*Listener, 0, len(ls.every))
	for l := range ls.every {
		all = append(all, l)
	}
	return all
}
