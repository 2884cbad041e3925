package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls"
)

// defaultHandshakeTimeout is what Istio puts into transport_socket_connect_timeout.
const defaultHandshakeTimeout = 15 * time.Second

// defaultDrainTime is Istio's parent shutdown and drain time.
const defaultDrainTime = 45 * time.Second

// Errors that end a connection before a handler saw it.
var (
	errNotReady     = errors.New("listener has no configuration yet")
	errNoChain      = errors.New("filter_chain_not_found")
	errHeldTooMany  = errors.New("too many connections wait for configuration")
	errDialsItself  = errors.New("not captured: the proxy's own port was dialled")
	errListenerGone = errors.New("listener was removed")
	errChainGone    = errors.New("filter chain was removed")
)

// ListenerStats counts as Envoy's listener.* statistics do.
type ListenerStats struct {
	Total         atomic.Uint64 // downstream_cx_total
	Active        atomic.Int64  // downstream_cx_active
	NoChain       atomic.Uint64 // no_filter_chain_match
	Refused       atomic.Uint64 // direct dials and connections without configuration
	SniffTimeout  atomic.Uint64 // downstream_pre_cx_timeout
	HandshakeFail atomic.Uint64 // ssl.connection_error
	// Ahead counts upstreams that were dialled for silent downstreams, AheadFail
	// those of them that could not be reached, ServerFirst those that spoke first.
	Ahead, AheadFail, ServerFirst atomic.Uint64
}

// Listener is the live object of one listening address. The compiler is the one
// writer of its spec.
type Listener struct {
	name string
	fill func(context.Context, *Listener) error

	Stats ListenerStats

	spec  atomic.Pointer[ListenerSpec]
	ready chan struct{} // closed by the first Publish

	// guarded by mu
	mu    sync.Mutex
	conns map[*Conn]struct{}
	gone  bool
}

// NewListener makes an empty listener. fill, which may be nil, is called when a
// connection arrives and nothing was published yet; it blocks for a bounded time
// and ends with a Publish where the configuration exists.
func NewListener(name string, fill func(context.Context, *Listener) error) *Listener {
	return &Listener{name: name, fill: fill, ready: make(chan struct{}), conns: map[*Conn]struct{}{}}
}

// Name is the listener's configured name.
func (l *Listener) Name() string { return l.name }

// Spec is the current configuration, or nil.
func (l *Listener) Spec() *ListenerSpec { return l.spec.Load() }

// Active is the number of connections.
func (l *Listener) Active() int64 { return l.Stats.Active.Load() }

// Publish swaps the configuration. Connections on chains that are still there
// live on untouched, those on chains that are gone drain.
func (l *Listener) Publish(spec *ListenerSpec) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spec.Swap(spec) == nil {
		close(l.ready)
	}
	for c := range l.conns {
		if chain := c.chain.Load(); chain != nil && !spec.Chains.Has(chain) {
			c.drain(drainTime(spec))
		}
	}
}

// Unload forgets the configuration of an idle listener; the next connection asks
// for it again. It reports false where connections are open.
func (l *Listener) Unload() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) > 0 || l.fill == nil {
		return false
	}
	if l.spec.Swap(nil) != nil {
		l.ready = make(chan struct{})
	}
	return true
}

func drainTime(spec *ListenerSpec) time.Duration {
	if spec != nil && spec.DrainTime > 0 {
		return spec.DrainTime
	}
	return defaultDrainTime
}

// drainAll asks every connection to end. A negative grace sets no clock.
func (l *Listener) drainAll(grace time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.drain(grace)
	}
}

// retire drains a listener that the configuration no longer has.
func (l *Listener) retire() {
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
	l.drainAll(drainTime(l.Spec()))
}

// revive undoes retire.
func (l *Listener) revive() {
	l.mu.Lock()
	l.gone = false
	l.mu.Unlock()
}

func (l *Listener) abortAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.abort()
	}
}

func (l *Listener) track(c *Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return errListenerGone
	}
	l.conns[c] = struct{}{}
	l.Stats.Total.Add(1)
	l.Stats.Active.Add(1)
	return nil
}

func (l *Listener) untrack(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; ok {
		delete(l.conns, c)
		l.Stats.Active.Add(-1)
	}
}

// serve is the life of a connection from accept to close. All that was needed to find
// out what serves it has returned when that begins: an idle connection waits on a
// stack of 4 KiB if little more than one is in use (TestIdleConnectionsStandOnLittle).
func (l *Listener) serve(ctx context.Context, env *Listeners, raw net.Conn) {
	c := &Conn{sock: &socket{Conn: raw}, at: l}
	c.Conn = c.sock
	ctx, c.cancel = context.WithCancelCause(ctx)
	defer c.end(env)
	chain, a, err := c.arrive(ctx, env)
	if err == nil {
		err = c.at.run(ctx, chain, c, a)
	}
	if err != nil {
		env.tell(ctx, c, err)
	}
}

// end is the way out of serve, also where a handler panicked.
func (c *Conn) end(env *Listeners) {
	if p := recover(); p != nil {
		env.Panics.Add(1)
		env.o.Logger.Error("connection handler panicked", "listener", c.at.name, "panic", p, "stack", string(debug.Stack()))
	}
	c.finish()
	c.at.untrack(c)
}

// tell says why a connection was not served.
func (ls *Listeners) tell(ctx context.Context, c *Conn, err error) {
	if c.Flow == nil { // it came to a listener that was gone
		return
	}
	ls.o.Logger.LogAttrs(ctx, slog.LevelDebug, "connection ended before it was served", slog.String("listener", c.at.name),
		slog.Any("remote", c.Flow.Remote), slog.Any("original_dst", c.Flow.OriginalDst), slog.Any("error", err))
}

// arrive finds the listener that serves the connection, and the chain.
func (c *Conn) arrive(ctx context.Context, env *Listeners) (*Chain, *ahead, error) {
	l, raw := c.at, c.sock.Conn
	if err := l.track(c); err != nil {
		return nil, nil, err
	}
	c.Flow = &flow.Conn{ID: env.nextID.Add(1), Start: time.Now(), Remote: addrPort(raw.RemoteAddr()), Local: addrPort(raw.LocalAddr())}
	if env.drains.Load() {
		c.drain(-1)
	}
	spec, err := l.configured(ctx, env)
	if err != nil {
		l.Stats.Refused.Add(1)
		return nil, nil, err
	}
	if spec.Captured || spec.UseOriginalDst || spec.Transparent {
		if err := l.capture(env, spec, c); err != nil {
			l.Stats.Refused.Add(1)
			reset(raw)
			return nil, nil, err
		}
	}
	if target := env.For(c.Flow.OriginalDst); spec.UseOriginalDst && target != nil && target != l {
		if err := target.track(c); err == nil {
			l.untrack(c)
			c.at = target
			if spec, err = target.configured(ctx, env); err != nil {
				target.Stats.Refused.Add(1)
				return nil, nil, err
			}
		}
	}
	if err := ctx.Err(); err != nil { // cut while it changed hands
		return nil, nil, err
	}
	return c.at.choose(ctx, spec, c)
}

// configured returns the spec, waiting for the first one within bounds.
func (l *Listener) configured(ctx context.Context, env *Listeners) (*ListenerSpec, error) {
	if spec := l.spec.Load(); spec != nil {
		return spec, nil
	}
	if env.held.Add(1) > int64(env.o.MaxHeld) {
		env.held.Add(-1)
		return nil, errHeldTooMany
	}
	defer env.held.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, env.o.HoldTime)
	defer cancel()
	l.mu.Lock()
	ready := l.ready
	l.mu.Unlock()
	if l.fill != nil {
		if err := l.fill(ctx, l); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotReady, err)
		}
	}
	select {
	case <-ready:
	case <-ctx.Done():
	}
	if spec := l.spec.Load(); spec != nil {
		return spec, nil
	}
	return nil, errNotReady
}

// capture finds the original destination and refuses what was not captured.
func (l *Listener) capture(env *Listeners, spec *ListenerSpec, c *Conn) error {
	dst := c.Flow.Local
	if tcp, ok := c.sock.Conn.(*net.TCPConn); ok && !spec.Transparent && env.o.OriginalDst != nil {
		var err error
		if dst, err = env.o.OriginalDst(tcp); err != nil {
			return fmt.Errorf("find original destination: %w", err)
		}
	}
	if dst.Port() == spec.Address.Port() {
		return errDialsItself
	}
	c.Flow.OriginalDst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	return nil
}

// choose inspects the first bytes and picks the chain. What it returns beside it is
// the upstream of a downstream that leaves the first word to others, or nil.
func (l *Listener) choose(ctx context.Context, spec *ListenerSpec, c *Conn) (*Chain, *ahead, error) {
	c.Flow.Direction, c.Flow.Listener = spec.Direction, spec.Name
	dst := c.Flow.Destination()
	s := sniffer{in: &spec.Inspect}
	s.found.Destination, s.found.Source = dst, c.Flow.Remote
	s.found.DirectSource = c.Flow.Remote.Addr()
	s.found.Local = s.found.DirectSource.IsLoopback() || s.found.DirectSource == dst.Addr()
	if err := l.inspect(ctx, &s, c); err != nil {
		s.ahead.drop()
		return nil, nil, err
	}
	chain, err := l.found(spec, &s, c)
	if err != nil || s.ahead != nil && s.ahead.chain != chain {
		s.ahead.drop()
		s.ahead = nil
	}
	return chain, s.ahead, err
}

// found is the chain for what the inspectors found.
func (l *Listener) found(spec *ListenerSpec, s *sniffer, c *Conn) (*Chain, error) {
	c.Flow.TLS.SNI = s.found.ServerName
	if s.found.Transport == TransportTLS {
		c.Flow.TLS.ALPN = s.found.ALPN
	}
	chain := l.settle(c, &s.found)
	if s.ahead != nil && s.ahead.chain != chain && s.ahead.serverFirst() {
		return nil, errChainGone
	}
	if chain == nil {
		l.Stats.NoChain.Add(1)
		if s.in.TLS && s.found.Transport == TransportRaw && len(c.sock.prefix) > 0 {
			c.Flow.TLS.Failure = mtls.PlainTextReason(c.sock.prefix)
		}
		refuse(c, spec.Observers, flow.NoRouteFound, errNoChain)
		if len(c.sock.prefix) > 0 { // Envoy leaves them unread, and the kernel resets
			reset(c.sock.Conn)
		}
		return nil, errNoChain
	}
	c.Flow.Chain = chain.Name
	return chain, nil
}

// inspect lets the inspectors find out what they can. A downstream that stays
// silent may get its upstream dialled meanwhile.
func (l *Listener) inspect(ctx context.Context, s *sniffer, c *Conn) error {
	c.OnDrain(func() {
		if !s.heard.Load() { // a connection that was opened in advance
			_ = c.sock.Conn.Close()
		}
	})
	defer c.OnDrain(nil)
	err := s.detect(c.sock, s.found.Destination.Port())
	if errors.Is(err, errSilent) {
		s.ahead = l.ahead(ctx, c, &s.found)
		err = s.resume(c.sock)
	}
	if errors.Is(err, errSniffTimeout) {
		l.Stats.SniffTimeout.Add(1)
	}
	return err
}

// settle picks the chain by the configuration of this moment, and puts the
// connection on it in the same step: if the chain goes away, the connection drains.
func (l *Listener) settle(c *Conn, found *Facts) *Chain {
	l.mu.Lock()
	defer l.mu.Unlock()
	var chain *Chain
	if spec := l.spec.Load(); spec != nil {
		chain = spec.Chains.Match(found)
	}
	c.chain.Store(chain)
	return chain
}

// run serves the connection.
func (l *Listener) run(ctx context.Context, chain *Chain, c *Conn, a *ahead) error {
	if a != nil {
		defer a.drop()
	}
	if err := l.open(ctx, chain, c, a.serverFirst()); err != nil {
		return err
	}
	if a != nil {
		a.tcp.serveAhead(ctx, c, a)
		return nil
	}
	chain.Handler.ServeConn(ctx, c)
	return nil
}

// open ends TLS and asks the connection's filters, unless they were asked and nothing
// new is known.
func (l *Listener) open(ctx context.Context, chain *Chain, c *Conn, asked bool) error {
	if chain.TLS != nil {
		if err := handshake(ctx, chain, c); err != nil {
			l.Stats.HandshakeFail.Add(1)
			c.Flow.TLS.Failure = mtls.FailureReason(err)
			if h, ok := chain.Handler.(shaken); ok {
				h.unshaken(c)
			}
			return fmt.Errorf("TLS handshake: %w", err)
		}
	}
	if asked {
		return nil
	}
	return admit(chain, c)
}

// admit asks the chain's filters.
func admit(chain *Chain, c *Conn) error {
	for _, f := range chain.Filters {
		if err := f.Accept(c.Flow); err != nil {
			if h, ok := chain.Handler.(refuser); ok {
				h.refused(c, err)
			}
			return err
		}
	}
	return nil
}

// handshake ends TLS on the connection.
func handshake(ctx context.Context, chain *Chain, c *Conn) error {
	timeout := chain.HandshakeTimeout
	if timeout <= 0 {
		timeout = defaultHandshakeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.sock.hasten()
	session, facts, err := chain.TLS.Handshake(ctx, c.sock)
	if err != nil { // what the inspector found out stays
		c.Flow.TLS.Version, c.Flow.TLS.CipherSuite, c.Flow.TLS.Own = facts.Version, facts.CipherSuite, facts.Own
		return err
	}
	c.Conn, c.Flow.TLS = session, facts
	return nil
}

// refuser is a handler that records connections which a filter turned away.
type refuser interface{ refused(*Conn, error) }

// shaken is a handler that records connections whose handshake failed.
type shaken interface{ unshaken(*Conn) }

// refuse records a connection that no handler served.
func refuse(c *Conn, observers []flow.Observer, flag flow.Flag, why error) {
	if len(observers) == 0 {
		return
	}
	rec := &flow.Record{Conn: c.Flow, Start: c.Flow.Start, Details: why.Error()}
	rec.Flags.Set(flag)
	rec.Duration = time.Since(rec.Start)
	observe(observers, rec)
}

func observe(observers []flow.Observer, rec *flow.Record) {
	for _, o := range observers {
		o.Observe(rec)
	}
}

// reset closes with RST, so that a direct dial fails visibly and at once.
func reset(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}
