package compile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/xds"
)

// listenerEntry is one listener of the configuration. Its live object stays empty
// until a connection comes, unless it has a socket of its own.
type listenerEntry struct {
	live        *proxy.Listener
	addresses   []netip.AddrPort
	bind        bool
	transparent bool
	// age orders the entries: the older of two listeners keeps an address.
	age uint64
	// refusing is why connections are refused: the only configuration that ever
	// came was not acceptable.
	refusing error
	// failure is why the present configuration cannot be used.
	failure error
	// refusedIn is the push in which it was last refused.
	refusedIn uint64
}

// decodeListener decodes a listener and checks its address.
func decodeListener(body []byte) (*listenerv3.Listener, error) {
	m := new(listenerv3.Listener)
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return m, nil
}

// checkListener compiles a listener without publishing it, since security lives
// in it: what cannot be enforced has to be refused when it arrives. Chains that
// serve already were judged before.
func (c *Compiler) checkListener(name string, body []byte) error {
	m, err := decodeListener(body)
	if err != nil {
		return err
	}
	s := newScope()
	addresses(s, m)
	var serving *proxy.ListenerSpec
	if e := c.listeners[name]; e != nil {
		serving = e.live.Spec()
	}
	if s.err() == nil {
		c.listenerSpec(s, m, serving)
	}
	return s.err()
}

// refuseListener puts a listener that refuses connections at the addresses of one
// that was turned down, unless something older serves there.
func (c *Compiler) refuseListener(name string, body []byte, why error) {
	e := c.listeners[name]
	if e != nil && e.refusing == nil {
		return
	}
	m, err := decodeListener(body)
	if err != nil {
		return // nobody knows where it was to be
	}
	addrs := addresses(newScope(), m)
	if len(addrs) == 0 {
		return
	}
	if e == nil {
		e = c.newListener(name)
	}
	e.addresses, e.bind, e.refusing, e.refusedIn = addrs, truth(m.GetBindToPort(), true), why, c.pushes
	if err := c.updateSockets(); err != nil {
		c.log.Error("cannot listen", "listener", name, "error", err)
	}
}

// listenersChanged follows an LDS push.
func (c *Compiler) listenersChanged(ch *xds.Change) error {
	var errs []error
	for _, name := range ch.Changed {
		errs = append(errs, c.listenerChanged(name))
	}
	before := len(c.listeners)
	for _, name := range ch.Removed {
		delete(c.listeners, name)
	}
	for _, name := range ch.Unheld {
		if e := c.listeners[name]; e != nil && e.refusing != nil {
			delete(c.listeners, name)
		}
	}
	if ch.Complete { // a refused listener that is not among them is gone
		maps.DeleteFunc(c.listeners, func(_ string, e *listenerEntry) bool {
			return e.refusing != nil && e.refusedIn != c.pushes
		})
	}
	if len(ch.Changed) > 0 || len(c.listeners) != before {
		errs = append(errs, c.updateSockets())
	}
	c.pushes++
	return errors.Join(errs...)
}

func (c *Compiler) listenerChanged(name string) error {
	body, ok := c.store.Get(xds.TypeListener, name)
	if !ok {
		return nil
	}
	m, err := decodeListener(body)
	if err != nil {
		return fmt.Errorf("listener %q: %w", name, err)
	}
	s := newScope()
	addrs := addresses(s, m)
	if err := s.err(); err != nil {
		return fmt.Errorf("listener %q: %w", name, err)
	}
	e := c.listeners[name]
	if e == nil {
		e = c.newListener(name)
	}
	e.refusing, e.failure = nil, nil
	e.addresses, e.bind, e.transparent = addrs, truth(m.GetBindToPort(), true), truth(m.GetTransparent(), false)
	if e.live.Spec() == nil && !e.bind {
		return nil // built at its first connection
	}
	return c.buildListener(e, m)
}

// buildListener compiles a listener and publishes it. The lock is held.
func (c *Compiler) buildListener(e *listenerEntry, m *listenerv3.Listener) error {
	s := newScope()
	spec := c.listenerSpec(s, m, e.live.Spec())
	if err := s.err(); err != nil {
		e.failure = c.failed("listener", m.GetName(), err)
		return e.failure
	}
	e.live.Publish(spec)
	return nil
}

// fillListener builds a listener at its first connection.
func (c *Compiler) fillListener(ctx context.Context, l *proxy.Listener) error {
	return c.await(ctx, func() error {
		if l.Spec() != nil {
			return nil
		}
		e := c.listeners[l.Name()]
		if e == nil || e.live != l {
			return errors.New("is not configured any more")
		}
		if e.refusing != nil {
			return fmt.Errorf("its configuration was refused: %w", e.refusing)
		}
		if e.failure != nil {
			return e.failure
		}
		body, ok := c.store.Get(xds.TypeListener, l.Name())
		if !ok {
			return errNotYet
		}
		m, err := decodeListener(body)
		if err != nil {
			return err
		}
		return c.buildListener(e, m)
	})
}

func (c *Compiler) newListener(name string) *listenerEntry {
	c.births++
	e := &listenerEntry{live: proxy.NewListener(name, c.fillListener), age: c.births}
	c.listeners[name] = e
	return e
}

// updateSockets tells the data path which addresses there are. Where two listeners
// want one address, the one that came first keeps it; the error names the other.
func (c *Compiler) updateSockets() error {
	byAge := slices.SortedFunc(maps.Values(c.listeners), func(a, b *listenerEntry) int { return cmp.Compare(a.age, b.age) })
	owners := make(map[netip.AddrPort]*listenerEntry)
	var entries []proxy.Entry
	var errs []error
	for _, e := range byAge {
		for _, a := range e.addresses {
			if first := owners[a]; first != nil && first != e {
				errs = append(errs, fmt.Errorf("listener %q: address %s is that of listener %q", e.live.Name(), a, first.live.Name()))
				continue
			}
			owners[a] = e
			entries = append(entries, proxy.Entry{Address: a, Bind: e.bind, Transparent: e.transparent, Listener: e.live})
		}
	}
	return errors.Join(append(errs, c.sockets.Update(entries))...)
}

// chainDigest identifies a chain by its content: equal chains that arrive as
// different bytes have one digest. The lock is held.
func (c *Compiler) chainDigest(dir flow.Direction, fc *listenerv3.FilterChain) (uint64, error) {
	alone := &listenerv3.Listener{Name: "chain", TrafficDirection: corev3.TrafficDirection(dir), FilterChains: []*listenerv3.FilterChain{fc}}
	b, err := proto.Marshal(alone)
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	return c.walker.Walk("envoy.config.listener.v3.Listener", b, true)
}
