package upstream

import (
	"slices"
)

// maxDepots bounds the pools of a way, and its hubs. Protocol lists come from
// configuration and are few.
const maxDepots = 16

// depots are where the connections of a way lie, by what TLS offers.
type depots struct {
	pools []*pool
	hubs  []*hub
}

func (w *way) all() *depots {
	if d := w.depots.Load(); d != nil {
		return d
	}
	return &depots{}
}

// pool is the pool for a list of protocols and a priority.
func (w *way) pool(alpn []string, class Priority) *pool {
	if p := w.all().pool(alpn, class); p != nil {
		return p
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.all()
	if p := d.pool(alpn, class); p != nil {
		return p
	}
	p := &pool{way: w, alpn: slices.Clone(alpn), class: class, retired: w.retired}
	if len(d.pools) == maxDepots {
		p.retired = true
		return p
	}
	w.depots.Store(&depots{pools: append(slices.Clip(d.pools), p), hubs: d.hubs})
	return p
}

// hub is the hub for a list of protocols, from which the handshake may choose
// another version of HTTP where negotiated is true.
func (w *way) hub(alpn []string, negotiated bool, class Priority) *hub {
	if h := w.all().hub(alpn, negotiated, class); h != nil {
		return h
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.all()
	if h := d.hub(alpn, negotiated, class); h != nil {
		return h
	}
	h := &hub{way: w, alpn: slices.Clone(alpn), negotiated: negotiated, class: class, retired: w.retired}
	if len(d.hubs) == maxDepots {
		h.retired = true
		return h
	}
	w.depots.Store(&depots{pools: d.pools, hubs: append(slices.Clip(d.hubs), h)})
	return h
}

func (d *depots) pool(alpn []string, class Priority) *pool {
	for _, p := range d.pools {
		if p.class == class && sameList(p.alpn, alpn) {
			return p
		}
	}
	return nil
}

func (d *depots) hub(alpn []string, negotiated bool, class Priority) *hub {
	for _, h := range d.hubs {
		if h.class == class && h.negotiated == negotiated && sameList(h.alpn, alpn) {
			return h
		}
	}
	return nil
}

// sameList also tells the list that offers nothing from the one that is not set.
func sameList(a, b []string) bool { return slices.Equal(a, b) && (a == nil) == (b == nil) }
