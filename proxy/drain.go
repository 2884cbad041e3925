package proxy

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/outrigger-mesh/outrigger/flow"
)

// Drain ends the data path: no socket accepts any more, every HTTP connection
// says "connection: close" with its next response and idle ones close, TCP
// connections may go on until ctx ends; what is left then is cut. It returns when
// every goroutine has ended, with ctx's error where it had to cut.
func (ls *Listeners) Drain(ctx context.Context) error {
	ls.drains.Store(true)
	listeners := ls.stopAccepting()
	for _, l := range listeners {
		l.drainAll(-1)
	}
	done := make(chan struct{})
	go func() {
		ls.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		ls.cancel()
		return nil
	case <-ctx.Done():
	}
	ls.cancel()
	for _, l := range listeners {
		l.abortAll()
	}
	<-done
	return ctx.Err()
}

// DrainInbound takes no new inbound connections and asks the open ones to end.
// Outbound ones go on, new ones too: the application still has work to finish.
func (ls *Listeners) DrainInbound() {
	ls.mu.Lock()
	ls.inboundOver = true
	for addr, b := range ls.bound {
		if inbound(b.listener.Load()) {
			_ = b.socket.Close()
			delete(ls.bound, addr)
		}
	}
	ls.mu.Unlock()
	for _, l := range ls.All() {
		if inbound(l) {
			l.drainAll(-1)
		}
	}
}

func inbound(l *Listener) bool {
	spec := l.Spec()
	return spec != nil && spec.Direction == flow.Inbound
}

// Active is the number of open connections of all listeners.
func (ls *Listeners) Active() int64 {
	var n int64
	for _, l := range ls.All() {
		n += l.Active()
	}
	return n
}

// Close ends everything at once.
func (ls *Listeners) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = ls.Drain(ctx)
}

// Draining reports whether Drain was called.
func (ls *Listeners) Draining() bool { return ls.drains.Load() }

func (ls *Listeners) stopAccepting() []*Listener {
	ls.mu.Lock()
	ls.closed = true
	for _, b := range ls.bound {
		_ = b.socket.Close()
	}
	ls.bound = map[netip.AddrPort]*binding{}
	listeners := slices.Collect(maps.Keys(ls.retired))
	ls.mu.Unlock()
	return append(listeners, ls.All()...)
}
