package xds

import (
	"bytes"

	"github.com/outrigger-mesh/outrigger/xds/slab"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// matcher pairs the virtual hosts of two versions of a route configuration by name.
type matcher struct {
	old     []host
	matched []bool
	byName  map[uint64][]int32 // built when the order differs
}

// next returns the index of the old virtual host for the one that comes at position at, or -1.
func (m *matcher) next(at int, name uint64) int {
	if at < len(m.old) && m.old[at].name == name && !m.matched[at] {
		m.matched[at] = true
		return at
	}
	if m.byName == nil {
		m.byName = make(map[uint64][]int32, len(m.old))
		for i := range m.old {
			m.byName[m.old[i].name] = append(m.byName[m.old[i].name], int32(i))
		}
	}
	for _, i := range m.byName[name] {
		if !m.matched[i] {
			m.matched[i] = true
			return int(i)
		}
	}
	return -1
}

// writeHosts packs the virtual hosts of a route configuration; those with the bytes they had keep their record. The
// other fields are left in the writer's rest.
func (b *Batch) writeHosts(st *staged, old *record, body []byte) error {
	s, w := b.s, &b.s.writer
	rh := &routeHosts{any: -1}
	st.route = &stagedRoute{hosts: rh, change: RouteChange{Route: string(st.name), New: old == nil}}
	var m matcher
	if old != nil {
		m.old = s.routes[old.route].hosts
		m.matched = make([]bool, len(m.old))
	}
	var err error
	w.rest, rh.layout, err = split(body, w.rest[:0], func(body []byte) error {
		h, err := b.writeHost(st, &m, len(rh.hosts), body)
		if err != nil {
			return err
		}
		rh.hosts = append(rh.hosts, h)
		w.lower = rh.index(s.checker, len(rh.hosts)-1, body, w.lower)
		return nil
	})
	if err != nil {
		b.undo(st, old)
		return err
	}
	rh.sort()
	if old == nil {
		return nil
	}
	for i, matched := range m.matched {
		if !matched {
			if w.body, err = s.packer.Unpack(w.body[:0], s.arena.Bytes(m.old[i].at), int(m.old[i].raw)); err == nil {
				st.route.change.Removed = append(st.route.change.Removed, string(wire.Name(w.body)))
			}
		}
	}
	st.route.change.Top, err = b.topChanged(old)
	return err
}

// writeHost packs one virtual host unless the one before has the same bytes.
func (b *Batch) writeHost(st *staged, m *matcher, at int, body []byte) (host, error) {
	s, w := b.s, &b.s.writer
	name := wire.Name(body)
	h := host{name: s.checker.Hash(name), bytes: s.checker.Hash(body), raw: uint32(len(body))}
	before := (*host)(nil)
	if i := m.next(at, h.name); i >= 0 {
		before = &m.old[i]
	}
	if before != nil && before.bytes == h.bytes {
		before.shared = true
		h = *before
		return h, nil
	}
	same := false
	var err error
	if before != nil {
		if h.free, err = w.walker.Walk(hostType, body, true); err != nil {
			return h, err
		}
		if before.free == 0 {
			if w.body, err = s.packer.Unpack(w.body[:0], s.arena.Bytes(before.at), int(before.raw)); err != nil {
				return h, err
			}
			if before.free, err = w.walker.Walk(hostType, w.body, true); err != nil {
				return h, err
			}
		}
		same = before.free == h.free
	}
	if same {
		h.id = before.id
	} else {
		w.hostID++
		h.id = w.hostID
		if !st.route.change.New {
			st.route.change.Changed = append(st.route.change.Changed, string(name))
		}
	}
	h.at, err = s.put(nil, body)
	return h, err
}

// topChanged compares the fields beside the virtual hosts with those of the held version.
func (b *Batch) topChanged(old *record) (bool, error) {
	s, w := b.s, &b.s.writer
	var err error
	if w.body, err = s.unpack(w.body[:0], old); err != nil || bytes.Equal(w.body, w.rest) {
		return false, err
	}
	before, err := w.walker.Walk(rds.typeName(), w.body, true)
	if err != nil {
		return false, err
	}
	after, err := w.walker.Walk(rds.typeName(), w.rest, true)
	return before != after, err
}

// undo frees the virtual hosts that were packed for a resource that cannot be stored.
func (b *Batch) undo(st *staged, old *record) {
	if st.route == nil {
		return
	}
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for i := range st.route.hosts.hosts {
		if !st.route.hosts.hosts[i].shared {
			b.s.arena.Free(st.route.hosts.hosts[i].at)
		}
	}
	if old != nil {
		unshare(b.s.routes[old.route].hosts)
	}
	st.route = nil
}

func unshare(hs []host) {
	for i := range hs {
		hs[i].shared = false
	}
}

// freeHosts gives up the virtual hosts of a version that is replaced or removed; the caller holds mu.
func (s *Store) freeHosts(route int32) {
	if route < 0 {
		return
	}
	for _, h := range s.routes[route].hosts {
		if !h.shared {
			s.arena.Free(h.at)
		}
	}
	s.routes[route] = nil
}

// keepHosts publishes the virtual hosts of a route configuration and returns their index; the caller holds mu.
func (s *Store) keepHosts(st *stagedRoute) int32 {
	if st == nil {
		return -1
	}
	rh := st.hosts
	unshare(rh.hosts)
	for i := range s.routes {
		if s.routes[i] == nil {
			s.routes[i] = rh
			return int32(i)
		}
	}
	s.routes = append(s.routes, rh)
	return int32(len(s.routes) - 1)
}

// free gives up what a record holds; the caller holds mu.
func (s *Store) free(r *record) {
	s.arena.Free(r.at)
	s.freeHosts(r.route)
	r.at, r.route = slab.Ref{}, -1
}
