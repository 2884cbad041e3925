package upstream

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
)

// hub holds the HTTP/2 connections of one way that offered the same protocols. A
// request gets a stream of the connection with the fewest; where none has room it
// waits, and a connection is made for all who wait.
type hub struct {
	// immutable
	way        *way
	alpn       []string
	class      Priority
	negotiated bool // the handshake chooses between HTTP/2 and HTTP/1.1

	fellBack atomic.Bool // it chose HTTP/1.1: the pool has the connections

	mu      sync.Mutex
	retired bool        // guarded by mu; connections are not used again
	muxes   []*mux      // guarded by mu; those that take more streams
	opening int         // guarded by mu; connections being made
	total   int         // guarded by mu; connections that are open or being made
	limit   int         // guarded by mu; streams that a connection had when it was full; 0 is not known
	claims  []*claim    // guarded by mu; the longest waiting first
	timer   *time.Timer // guarded by mu; calls sweep
	armed   bool        // guarded by mu
}

// claim is a request that waits for a stream.
type claim struct {
	granted chan award // of capacity 1: whoever takes the claim off the list sends
}

// award ends a wait: with a stream, with the reason why there is none, or, when
// both are missing, with the advice to begin anew.
type award struct {
	stream *Stream
	err    error
}

// take lends a stream of a connection that is there, or nil.
func (h *hub) take(spec *Spec) *Stream {
	for {
		m := h.choose(spec)
		if m == nil {
			return nil
		}
		if s := m.stream(); s != nil {
			return s
		}
	}
}

// choose counts a stream more on the connection that has the fewest.
func (h *hub) choose(spec *Spec) *mux {
	h.mu.Lock()
	best, old := h.best(spec)
	if best != nil {
		h.count(best, spec)
	}
	h.mu.Unlock()
	for _, m := range old {
		m.close()
	}
	return best
}

// best is the connection with room that has the fewest streams. Those that are too
// old leave on the way; the caller closes what it gets of them. The caller holds mu.
func (h *hub) best(spec *Spec) (best *mux, old []*mux) {
	if spec.HTTP.MaxConnDuration > 0 {
		now := time.Now()
		for _, m := range slices.Clone(h.muxes) {
			if m.aged(spec, now) {
				m.cluster().stats.CxMaxDuration.Add(1)
				if h.leave(m); m.active == 0 {
					old = append(old, m)
				}
			}
		}
	}
	for _, m := range h.muxes {
		if m.room() && (best == nil || m.active < best.active) {
			best = m
		}
	}
	return best, old
}

// count notes a stream more on m. The last one that the connection may serve has it
// leave. The caller holds mu.
func (h *hub) count(m *mux, spec *Spec) {
	m.active++
	m.lent++
	if most := spec.HTTP.MaxRequestsPerConn; most > 0 && m.lent >= uint(most) {
		m.cluster().stats.CxMaxRequests.Add(1)
		h.leave(m)
	}
}

// leave lets m get no more streams. The caller holds mu.
func (h *hub) leave(m *mux) {
	m.leaving = true
	if at := slices.Index(h.muxes, m); at >= 0 {
		h.muxes = slices.Delete(h.muxes, at, at+1)
	}
}

// await waits for a stream, and has a connection made where those that are being made
// do not suffice.
func (h *hub) await(ctx context.Context, spec *Spec) (*Stream, error) {
	c := h.way.cluster
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	k := &cancel{stop: stop}
	if !c.live.add(k) {
		return nil, closed()
	}
	defer c.live.remove(k)
	cl := h.claim(spec)
	if cl == nil {
		return nil, nil
	}
	select {
	case a := <-cl.granted:
		return a.stream, a.err
	case <-ctx.Done():
	}
	h.withdraw(cl)
	return nil, gaveUp(ctx)
}

// claim joins those who wait; nil is the advice to look again.
func (h *hub) claim(spec *Spec) *claim {
	cl := &claim{granted: make(chan award, 1)}
	h.mu.Lock()
	if best, old := h.best(spec); best != nil || len(old) > 0 { // there is one since the caller looked
		h.mu.Unlock()
		for _, m := range old {
			m.close()
		}
		return nil
	}
	h.claims = append(h.claims, cl)
	open := h.wants(spec) && h.place(spec)
	h.mu.Unlock()
	if open {
		h.open(spec)
	}
	return cl
}

// withdraw gives a claim up, and what it was granted at the same moment.
func (h *hub) withdraw(cl *claim) {
	h.mu.Lock()
	at := slices.Index(h.claims, cl)
	if at >= 0 {
		h.claims = slices.Delete(h.claims, at, at+1)
	}
	h.mu.Unlock()
	if at >= 0 {
		return
	}
	if a := <-cl.granted; a.stream != nil {
		a.stream.lender.giveBack(a.stream)
	}
}

// wants reports whether those who wait need another connection. One that is being
// made is trusted, as in Envoy, to take as many streams as we would open. The caller
// holds mu.
func (h *hub) wants(spec *Spec) bool {
	each := int(orDefault(spec.HTTP.HTTP2.MaxConcurrentStreams, http2.DefaultMaxConcurrentStreams))
	if h.limit > 0 {
		each = min(each, h.limit)
	}
	return len(h.claims) > h.opening*each
}

// place counts a connection to be made, where one more is allowed. The caller holds
// mu.
func (h *hub) place(spec *Spec) bool {
	c := h.way.cluster
	if !h.connections().take(spec.limits(h.class).Connections) {
		c.stats.CxOverflow.Add(1)
		// An endpoint without any connection may have one past the limit, and so may
		// a request that was overtaken by an update.
		if h.total > 0 && !h.retired {
			return false
		}
		h.connections().force()
	}
	h.total++
	h.opening++
	return true
}

// connections counts those of the hub's priority, of all endpoints.
func (h *hub) connections() *gauge { return &h.way.cluster.usage[h.class].connections }

// open makes a connection, on a goroutine of its own since it is not for one request
// alone.
func (h *hub) open(spec *Spec) {
	c := h.way.cluster
	ctx, stop := context.WithCancelCause(context.Background())
	k := &cancel{stop: stop}
	if !c.live.add(k) {
		stop(nil)
		h.failed(closed())
		return
	}
	go func() { // joined by Close through c.live
		defer c.live.remove(k)
		defer stop(nil)
		m, err := c.connect(ctx, spec, h.way, h.alpn)
		switch {
		case err != nil:
			h.failed(err)
		case h.negotiated && !SpeaksHTTP2(m.facts.Protocol):
			h.fallBack(m)
		default:
			h.join(m, spec)
		}
	}()
}

// failed ends an attempt to make a connection, and with it the wait of those who
// have nothing else to hope for.
func (h *hub) failed(err error) {
	h.connections().release()
	h.mu.Lock()
	h.total--
	h.opening--
	h.fail(err)
	h.mu.Unlock()
}

// fail ends the wait of all, unless they have something to hope for. The caller holds
// mu.
func (h *hub) fail(err error) {
	if h.opening > 0 || len(h.muxes) > 0 {
		return
	}
	for _, cl := range h.claims {
		cl.granted <- award{err: err} // never waits: the channel has room
	}
	h.claims = nil
}

// join puts a connection to use.
func (h *hub) join(made *made, spec *Spec) {
	c := h.way.cluster
	m := &mux{hub: h, link: newLink(h.way, made), idleSince: time.Now()}
	m.codec = http2.NewClientConn(made.conn, http2.ClientOptions{Settings: spec.HTTP.HTTP2, OnSpace: m.space, OnEnd: m.gone})
	if !c.live.swap(made.attempt, m) {
		_ = m.codec.Close() // nobody has used it
		c.drop(made)
		h.failed(closed())
		return
	}
	h.mu.Lock()
	h.opening--
	m.joined = true
	switch {
	case m.leaving: // it has ended already
		h.fail(lost(io.ErrUnexpectedEOF))
	case h.retired && len(h.claims) == 0:
		m.leaving = true
	default:
		h.muxes = append(h.muxes, m)
		h.arm(m.idleSince)
	}
	over := m.leaving && m.active == 0
	h.mu.Unlock()
	if over {
		m.close()
		return
	}
	h.serve(m)
	h.retireLate(m)
}

// retireLate has a connection leave that was made for those who were overtaken by an
// update.
func (h *hub) retireLate(m *mux) {
	h.mu.Lock()
	if !h.retired || m.leaving {
		h.mu.Unlock()
		return
	}
	h.leave(m)
	idle := m.active == 0
	h.mu.Unlock()
	if idle {
		m.close()
	}
}

// fallBack hands a connection that turned out to speak HTTP/1.1 to the pool, and
// sends those who wait there.
func (h *hub) fallBack(made *made) {
	h.fellBack.Store(true)
	p := h.way.pool(withoutHTTP2(h.alpn), h.class)
	p.mu.Lock()
	p.total++
	p.mu.Unlock()
	h.mu.Lock()
	h.total--
	h.opening--
	claims := h.claims
	h.claims = nil
	h.mu.Unlock()
	cn, err := h.way.cluster.adopt(p, made)
	if err != nil {
		p.forgo()
	} else {
		p.give(cn)
	}
	for _, cl := range claims {
		cl.granted <- award{err: err}
	}
}

// serve gives streams of m to those who wait, while it has room.
func (h *hub) serve(m *mux) {
	for {
		spec := h.way.cluster.spec.Load()
		h.mu.Lock()
		if len(h.claims) == 0 || !m.joined || !m.room() || spec == nil {
			h.mu.Unlock()
			return
		}
		h.count(m, spec)
		h.mu.Unlock()
		s := m.stream()
		if s == nil {
			continue
		}
		h.mu.Lock()
		if len(h.claims) == 0 {
			h.mu.Unlock()
			m.giveBack(s)
			return
		}
		cl := h.claims[0]
		h.claims = slices.Delete(h.claims, 0, 1)
		h.mu.Unlock()
		cl.granted <- award{stream: s}
	}
}

// forgo gives a connection's place back; those who wait may have another one made.
func (h *hub) forgo() {
	c := h.way.cluster
	h.connections().release()
	spec := c.spec.Load()
	h.mu.Lock()
	h.total--
	open := false
	var claims []*claim
	switch {
	case len(h.claims) == 0:
	case spec == nil:
		claims, h.claims = h.claims, nil
	default:
		open = h.wants(spec) && h.place(spec)
	}
	h.mu.Unlock()
	for _, cl := range claims {
		cl.granted <- award{}
	}
	if open {
		h.open(spec)
	}
}

// retire closes what is idle, lets the rest finish, and sends away who waits.
func (h *hub) retire() {
	h.mu.Lock()
	h.retired = true
	var idle []*mux
	for _, m := range h.muxes {
		m.leaving = true
		if m.active == 0 {
			idle = append(idle, m)
		}
	}
	claims := h.claims
	h.muxes, h.claims = nil, nil
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Unlock()
	for _, m := range idle {
		m.close()
	}
	for _, cl := range claims {
		cl.granted <- award{}
	}
}

// arm sets the timer that closes idle connections. The caller holds mu.
func (h *hub) arm(now time.Time) {
	spec := h.way.cluster.spec.Load()
	if h.armed || h.retired || spec == nil {
		return
	}
	var first time.Time
	for _, m := range h.muxes {
		if end := m.idleEnd(spec); !end.IsZero() && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	if first.IsZero() {
		return
	}
	h.armed = true
	in := max(first.Sub(now), time.Millisecond)
	if h.timer == nil {
		h.timer = time.AfterFunc(in, h.sweep)
	} else {
		h.timer.Reset(in)
	}
}

// idleEnd is when an idle connection is to be closed; zero is never. The caller
// holds hub.mu.
func (m *mux) idleEnd(spec *Spec) time.Time {
	if m.active > 0 {
		return time.Time{}
	}
	var end time.Time
	if t := spec.idleTimeout(); t > 0 {
		end = m.idleSince.Add(t)
	}
	if d := spec.HTTP.MaxConnDuration; d > 0 {
		if old := m.born.Add(d); end.IsZero() || old.Before(end) {
			end = old
		}
	}
	return end
}

// sweep closes the connections that have been idle for too long.
func (h *hub) sweep() {
	spec := h.way.cluster.spec.Load()
	if spec == nil {
		return // the hub is about to be retired
	}
	now := time.Now()
	h.mu.Lock()
	h.armed = false
	var expired []*mux
	for _, m := range slices.Clone(h.muxes) {
		if end := m.idleEnd(spec); !end.IsZero() && !now.Before(end) {
			h.leave(m)
			expired = append(expired, m)
		}
	}
	h.arm(now)
	h.mu.Unlock()
	for _, m := range expired {
		if m.aged(spec, now) {
			h.way.cluster.stats.CxMaxDuration.Add(1)
		} else {
			h.way.cluster.stats.CxIdleTimeout.Add(1)
		}
		m.close()
	}
}
