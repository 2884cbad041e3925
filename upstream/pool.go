package upstream

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pool holds the HTTP/1.1 connections of one way that offered the same protocols. The
// one used last is used next, so that those too many fall idle and end.
type pool struct {
	way   *way     // immutable
	alpn  []string // immutable
	class Priority // immutable

	mu      sync.Mutex
	retired bool        // guarded by mu; connections are not used again
	total   int         // guarded by mu; connections that are open or being opened
	idle    []*conn     // guarded by mu; the longest idle first
	waiters []*waiter   // guarded by mu; the longest waiting first
	timer   *time.Timer // guarded by mu; calls sweep
	armed   bool        // guarded by mu
	patient patience    // guarded by mu
}

// waiter is a request that waits because no more connections are allowed.
type waiter struct {
	granted chan grant // of capacity 1: whoever takes the waiter off the list sends
}

// grant ends a wait: with a connection, with leave to open one, or, when both are
// missing, with the advice to begin anew.
type grant struct {
	conn *conn
	open bool
}

// take lends a connection that is idle and alive, or nil.
func (p *pool) take(spec *Spec) *Stream {
	now := time.Now()
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 || p.retired {
			p.mu.Unlock()
			return nil
		}
		cn := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		keep := p.patient.limit(now)
		p.mu.Unlock()
		if !cn.expired(spec, now, keep) && cn.usable() {
			return cn.lend()
		}
		cn.close()
	}
}

// give takes a connection back: for the next who waits, or to lie idle. Like one
// that is taken from the idle, it is looked at before it changes hands; if it is
// closed then, a waiter may open one in its stead.
func (p *pool) give(cn *conn) {
	now := time.Now()
	for looked, usable := false, true; ; {
		p.mu.Lock()
		switch {
		case !usable || p.retired || cn.peerClosed.Load():
			p.mu.Unlock()
			cn.close()
			return
		case len(p.waiters) == 0:
			cn.idleSince = now
			p.idle = append(p.idle, cn)
			if p.patient.hear(cn.patience) || !p.armed || p.aging() {
				p.arm(now)
			}
			p.mu.Unlock()
			return
		case looked:
			w := p.popWaiter()
			next := p.another()
			p.mu.Unlock()
			w.granted <- grant{conn: cn}
			if next != nil {
				next.granted <- grant{open: true}
			}
			return
		}
		p.mu.Unlock()
		looked, usable = true, cn.usable()
	}
}

// peerClosed hears from the reaper that the upstream has closed a connection. An
// idle one ends now, one in use when it is given back.
func (p *pool) peerClosed(cn *conn) {
	p.mu.Lock()
	cn.peerClosed.Store(true)
	at := slices.Index(p.idle, cn)
	if at >= 0 {
		p.idle = slices.Delete(p.idle, at, at+1)
		now := time.Now()
		p.patient.see(cn.idleFor(now), now)
		p.rearm(now)
	}
	p.mu.Unlock()
	if at >= 0 {
		cn.close()
	}
}

// await waits for a connection, or opens one.
func (p *pool) await(ctx context.Context, spec *Spec) (*Stream, error) {
	g, err := p.reserve(ctx, spec)
	cn := g.conn
	if err == nil && g.open {
		if cn, err = p.way.cluster.openConn(ctx, p, spec); err != nil {
			p.forgo()
		}
	}
	if cn == nil || err != nil {
		return nil, err
	}
	return cn.lend(), nil
}

// reserve counts a connection to be opened, or waits until one is free.
func (p *pool) reserve(ctx context.Context, spec *Spec) (grant, error) {
	c := p.way.cluster
	p.mu.Lock()
	if p.connections().take(spec.limits(p.class).Connections) {
		p.total++
		p.mu.Unlock()
		return grant{open: true}, nil
	}
	c.stats.CxOverflow.Add(1)
	// An endpoint without any connection may have one past the limit, and so may a
	// request that was overtaken by an update.
	if p.total == 0 || p.retired {
		p.connections().force()
		p.total++
		p.mu.Unlock()
		return grant{open: true}, nil
	}
	if len(p.idle) > 0 { // given back since the caller looked
		p.mu.Unlock()
		return grant{}, nil
	}
	w := &waiter{granted: make(chan grant, 1)}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	return p.wait(ctx, w)
}

func (p *pool) wait(ctx context.Context, w *waiter) (grant, error) {
	c := p.way.cluster
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	k := &cancel{stop: stop}
	if !c.live.add(k) {
		stop(ErrClosed)
	}
	defer c.live.remove(k)
	select {
	case g := <-w.granted:
		return g, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	at := slices.Index(p.waiters, w)
	if at >= 0 {
		p.waiters = slices.Delete(p.waiters, at, at+1)
	}
	p.mu.Unlock()
	if at < 0 { // granted at the same moment: pass it on
		switch g := <-w.granted; {
		case g.conn != nil:
			p.give(g.conn)
		case g.open:
			p.forgo()
		}
	}
	return grant{}, gaveUp(ctx)
}

// forgo gives a connection's place back; one who waits may open in its stead.
func (p *pool) forgo() {
	c := p.way.cluster
	p.connections().release()
	p.mu.Lock()
	p.total--
	var w *waiter
	if len(p.waiters) > 0 {
		var limit Limit
		if spec := c.spec.Load(); spec != nil {
			limit = spec.limits(p.class).Connections
		}
		switch {
		case p.connections().take(limit):
			w = p.popWaiter()
		case p.total == 0:
			p.connections().force()
			w = p.popWaiter()
		}
	}
	if w != nil {
		p.total++
	}
	p.mu.Unlock()
	if w != nil {
		w.granted <- grant{open: true}
	}
}

// another lets the next one who waits open a connection, where the limit allows it
// again: one of another endpoint may have ended. The caller holds mu.
func (p *pool) another() *waiter {
	c := p.way.cluster
	spec := c.spec.Load()
	if len(p.waiters) == 0 || spec == nil {
		return nil
	}
	if !p.connections().take(spec.limits(p.class).Connections) {
		c.stats.CxOverflow.Add(1)
		return nil
	}
	p.total++
	return p.popWaiter()
}

// connections counts those of the pool's priority, of all endpoints.
func (p *pool) connections() *gauge { return &p.way.cluster.usage[p.class].connections }

func (p *pool) popWaiter() *waiter {
	w := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return w
}

// retire closes what is idle and sends away who waits.
func (p *pool) retire() {
	p.mu.Lock()
	p.retired = true
	idle, waiters := p.idle, p.waiters
	p.idle, p.waiters = nil, nil
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for _, cn := range idle {
		cn.close()
	}
	for _, w := range waiters {
		w.granted <- grant{}
	}
}

// arm sets the timer for the connection that ends first. The caller holds mu and
// there is an idle connection.
func (p *pool) arm(now time.Time) {
	spec := p.way.cluster.spec.Load()
	if spec == nil {
		return
	}
	var first time.Time
	if most, _ := p.mostIdle(spec, now); most > 0 {
		first = p.idle[0].idleSince.Add(most)
	}
	if d := spec.HTTP.MaxConnDuration; d > 0 {
		for _, cn := range p.idle {
			if end := cn.born.Add(d); first.IsZero() || end.Before(first) {
				first = end
			}
		}
	}
	if first.IsZero() {
		return
	}
	in := max(first.Sub(now), time.Millisecond)
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(in, p.sweep)
	} else {
		p.timer.Reset(in)
	}
}

// aging reports whether connections may end while others that are idle for longer go
// on.
func (p *pool) aging() bool {
	spec := p.way.cluster.spec.Load()
	return spec != nil && spec.HTTP.MaxConnDuration > 0
}

// rearm sets the timer for what is idle now. The caller holds mu.
func (p *pool) rearm(now time.Time) {
	switch {
	case len(p.idle) > 0 && !p.retired:
		p.arm(now)
	case p.armed:
		p.timer.Stop()
		p.armed = false
	}
}

// mostIdle is how long a connection may be idle, and whether that is because the
// upstream would close it; not positive is for ever. The caller holds mu.
func (p *pool) mostIdle(spec *Spec, now time.Time) (most time.Duration, theirs bool) {
	most = spec.idleTimeout()
	if keep := p.patient.limit(now); keep > 0 && (most <= 0 || keep < most) {
		return keep, true
	}
	return most, false
}

// sweep closes the connections that have been idle for too long, or are too old.
func (p *pool) sweep() {
	spec := p.way.cluster.spec.Load()
	if spec == nil {
		return // the pool is about to be retired
	}
	now := time.Now()
	p.mu.Lock()
	p.armed = false
	most, theirs := p.mostIdle(spec, now)
	var idle, old []*conn
	p.idle = slices.DeleteFunc(p.idle, func(cn *conn) bool {
		switch {
		case most > 0 && cn.idleFor(now) >= most:
			idle = append(idle, cn)
		case cn.aged(spec, now):
			old = append(old, cn)
		default:
			return false
		}
		return true
	})
	p.rearm(now)
	p.mu.Unlock()
	st := &p.way.cluster.stats
	count := &st.CxIdleTimeout
	if theirs {
		count = &st.Stale.Retired
	}
	count.Add(uint64(len(idle)))
	st.CxMaxDuration.Add(uint64(len(old)))
	for _, cn := range slices.Concat(idle, old) {
		cn.close()
	}
}
