package upstream

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/lb"
)

// berth is where the connections of one endpoint lie; it is attached to the
// endpoint. It holds the way to reach the endpoint under the current spec.
type berth struct {
	cluster  *Cluster     // immutable
	endpoint *lb.Endpoint // immutable

	bound atomic.Pointer[bound] // written under mu

	mu   sync.Mutex
	gone bool // guarded by mu; the endpoint is in no set any more
}

// bound is the way that follows from a spec and an endpoint's description.
type bound struct {
	spec     *Spec
	endpoint *lb.EndpointSpec
	way      *way
}

// way is how an endpoint is reached: socket, source and keep-alive, with a pool for
// each list of protocols that TLS offers.
type way struct {
	// immutable
	cluster   *Cluster
	endpoint  *lb.Endpoint
	socket    Socket
	source    netip.Addr
	keepAlive KeepAlive

	pools atomic.Pointer[[]*pool] // written under mu; the slice is immutable

	mu      sync.Mutex
	retired bool // guarded by mu
}

// maxPools bounds the pools of a way. Protocol lists come from configuration and
// are few.
const maxPools = 16

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
	}
	if old != nil && old.way.same(w) && !spec.Limits.below(&old.spec.Limits) {
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
}

// join takes part in the current set.
func (b *berth) join() {
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
	return retired == o.retired && w.socket.TLS == o.socket.TLS && w.source == o.source && w.keepAlive == o.keepAlive
}

// pool is the pool for a list of protocols.
func (w *way) pool(alpn []string) *pool {
	if p := w.find(alpn); p != nil {
		return p
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.find(alpn); p != nil {
		return p
	}
	p := &pool{way: w, alpn: slices.Clone(alpn), retired: w.retired}
	all := w.all()
	if len(all) == maxPools {
		p.retired = true
		return p
	}
	all = append(slices.Clip(all), p)
	w.pools.Store(&all)
	return p
}

func (w *way) find(alpn []string) *pool {
	for _, p := range w.all() {
		if slices.Equal(p.alpn, alpn) && (p.alpn == nil) == (alpn == nil) {
			return p
		}
	}
	return nil
}

func (w *way) all() []*pool {
	if pools := w.pools.Load(); pools != nil {
		return *pools
	}
	return nil
}

// retire lets no connection of the way be used again.
func (w *way) retire() {
	w.mu.Lock()
	w.retired = true
	w.mu.Unlock()
	for _, p := range w.all() {
		p.retire()
	}
}

// rearm makes the pools look at their idle time-out anew.
func (w *way) rearm() {
	for _, p := range w.all() {
		p.sweep()
	}
}
