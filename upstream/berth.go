package upstream

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/outlier"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
)

// berth is where the connections of one endpoint lie; it is attached to the
// endpoint. It holds the way to reach the endpoint under the current spec.
type berth struct {
	cluster  *Cluster     // immutable
	endpoint *lb.Endpoint // immutable

	bound   atomic.Pointer[bound] // written under mu
	monitor atomic.Pointer[outlier.Monitor]
	ejected atomic.Bool // as of the last set

	mu   sync.Mutex
	gone bool // guarded by mu; the endpoint is in no set any more
}

// bound is the way that follows from a spec and an endpoint's description.
type bound struct {
	spec     *Spec
	endpoint *lb.EndpointSpec
	way      *way
}

// way is how an endpoint is reached: socket, source, keep-alive and HTTP settings,
// with a pool or a hub for each list of protocols that TLS offers.
type way struct {
	// immutable
	cluster   *Cluster
	endpoint  *lb.Endpoint
	socket    Socket
	source    netip.Addr
	keepAlive KeepAlive
	http1     http1.ClientOptions
	http2     http2.Settings

	depots atomic.Pointer[depots] // written under mu; immutable

	mu      sync.Mutex
	retired bool // guarded by mu
}

func berthOf(c *Cluster, e *lb.Endpoint) *berth {
	if b, ok := e.Attachment().(*berth); ok {
		return b
	}
	b, _ := e.Attach(&berth{cluster: c, endpoint: e}).(*berth)
	return b
}

// way is the current way, or nil when the cluster is empty.
func (b *berth) way() *way {
	if at := b.bound.Load(); at != nil && at.spec == b.cluster.spec.Load() && at.endpoint == b.endpoint.Spec() {
		return at.way
	}
	return b.bind()
}

// bind finds the way for what is current. A way that changes retires the old one.
func (b *berth) bind() *way {
	b.mu.Lock()
	defer b.mu.Unlock()
	spec, described := b.cluster.spec.Load(), b.endpoint.Spec()
	old := b.bound.Load()
	if spec == nil {
		b.bound.Store(nil)
		old.retire()
		return nil
	}
	w := &way{
		cluster: b.cluster, endpoint: b.endpoint, retired: b.gone,
		socket: spec.socketFor(described), source: spec.sourceFor(b.endpoint.Addr().Addr()), keepAlive: spec.KeepAlive,
		http1: spec.HTTP.HTTP1, http2: spec.HTTP.HTTP2,
	}
	if old != nil && old.way.same(w) && !spec.stricter(old.spec) {
		w = old.way
	}
	b.bound.Store(&bound{spec: spec, endpoint: described, way: w})
	if old == nil || old.way == w {
		w.rearm()
		return w
	}
	old.retire()
	return w
}

// leave gives the endpoint up: idle connections close, and those in use when
// they are done.
func (b *berth) leave() {
	b.mu.Lock()
	b.gone = true
	old := b.bound.Swap(nil)
	b.mu.Unlock()
	old.retire()
	if m := b.monitor.Load(); m != nil {
		m.Forget()
	}
}

// empty gives the connections up, but not the endpoint.
func (b *berth) empty() {
	b.mu.Lock()
	old := b.bound.Swap(nil)
	b.mu.Unlock()
	old.retire()
}

// join takes part in the current set.
func (b *berth) join() {
	if at := b.bound.Load(); at != nil && at.spec == b.cluster.spec.Load() && at.endpoint == b.endpoint.Spec() {
		return // nothing has changed
	}
	b.mu.Lock()
	b.gone = false
	b.mu.Unlock()
	b.bind()
}

func (b *bound) retire() {
	if b != nil {
		b.way.retire()
	}
}

func (w *way) same(o *way) bool {
	w.mu.Lock()
	retired := w.retired
	w.mu.Unlock()
	return retired == o.retired && w.socket.TLS == o.socket.TLS && w.source == o.source && w.keepAlive == o.keepAlive &&
		w.http1 == o.http1 && w.http2 == o.http2
}

// retire lets no connection of the way be used again.
func (w *way) retire() {
	w.mu.Lock()
	w.retired = true
	w.mu.Unlock()
	all := w.all()
	for _, p := range all.pools {
		p.retire()
	}
	for _, h := range all.hubs {
		h.retire()
	}
}

// rearm makes the pools look at their idle time-out anew.
func (w *way) rearm() {
	all := w.all()
	for _, p := range all.pools {
		p.sweep()
	}
	for _, h := range all.hubs {
		h.sweep()
	}
}
