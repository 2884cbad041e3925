package upstream

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
)

// maxOnDemand bounds the endpoints that a cluster of kind OriginalDst remembers. A
// flow beyond gets an endpoint of its own, whose connection is not pooled.
const maxOnDemand = 8192

// onDemand is the table of the endpoints that were made from original destinations.
type onDemand struct {
	last atomic.Pointer[visitor] // the one used last: behind a sidecar mostly the only one

	mu       sync.RWMutex
	visitors map[netip.AddrPort]*visitor // guarded by mu
	sweep    *time.Timer                 // guarded by mu; set while the table is not empty
}

// visitor is an endpoint and whether it was used since the last sweep.
type visitor struct {
	endpoint *lb.Endpoint
	used     atomic.Bool
}

func (v *visitor) use() *lb.Endpoint {
	if !v.used.Load() { // most often it is set: do not write to a shared cache line
		v.used.Store(true)
	}
	return v.endpoint
}

// get finds the endpoint of an address, or makes it.
func (d *onDemand) get(c *Cluster, spec *Spec, to netip.AddrPort) *lb.Endpoint {
	if to.Addr().Is4In6() {
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	}
	if v := d.last.Load(); v != nil && v.endpoint.Addr() == to {
		return v.use()
	}
	d.mu.RLock()
	v := d.visitors[to]
	d.mu.RUnlock()
	if v == nil {
		return d.add(c, spec, to)
	}
	d.last.Store(v)
	return v.use()
}

func (d *onDemand) add(c *Cluster, spec *Spec, to netip.AddrPort) *lb.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.visitors[to]; v != nil {
		return v.use()
	}
	e := lb.NewEndpoint(&lb.EndpointSpec{Addr: to})
	if len(d.visitors) >= maxOnDemand || c.live.closing() || c.spec.Load() == nil {
		berthOf(c, e).leave()
		return e
	}
	if d.visitors == nil {
		d.visitors = make(map[netip.AddrPort]*visitor)
	}
	v := &visitor{endpoint: e}
	d.visitors[to] = v
	if d.sweep == nil {
		d.sweep = time.AfterFunc(spec.cleanupInterval(), func() { d.cleanUp(c) })
	}
	return v.use()
}

// cleanUp drops the endpoints that were not used since the last time.
func (d *onDemand) cleanUp(c *Cluster) {
	spec := c.spec.Load()
	if spec == nil {
		return // removed: the table has been cleared
	}
	var gone []*lb.Endpoint
	d.mu.Lock()
	for addr, v := range d.visitors {
		if v.endpoint.Active() == 0 && !v.used.Swap(false) {
			delete(d.visitors, addr)
			d.last.CompareAndSwap(v, nil)
			gone = append(gone, v.endpoint)
		}
	}
	switch {
	case d.sweep == nil: // cleared meanwhile
	case len(d.visitors) == 0:
		d.sweep = nil
	default:
		d.sweep.Reset(spec.cleanupInterval())
	}
	d.mu.Unlock()
	for _, e := range gone {
		berthOf(c, e).leave()
	}
}

// clear forgets all endpoints.
func (d *onDemand) clear(c *Cluster) {
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.visitors))
	d.visitors = nil
	d.last.Store(nil)
	if d.sweep != nil {
		d.sweep.Stop()
		d.sweep = nil
	}
	d.mu.Unlock()
	for _, v := range all {
		berthOf(c, v.endpoint).leave()
	}
}

func (d *onDemand) list() []*lb.Endpoint {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]*lb.Endpoint, 0, len(d.visitors))
	for _, v := range d.visitors {
		all = append(all, v.endpoint)
	}
	return all
}

// OnDemand lists the endpoints that were made from original destinations and are
// still in use.
func (c *Cluster) OnDemand() []*lb.Endpoint { return c.onDemand.list() }
