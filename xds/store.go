package xds

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/outrigger-mesh/outrigger/xds/slab"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// maxName bounds the name of a resource.
const maxName = 4096

// Store holds what istiod sent: packed outside of the Go heap under an index without pointers. One goroutine writes,
// through Begin; any number read, and get copies that are theirs.
type Store struct {
	checker *wire.Checker                                 // immutable
	packer  *slab.Packer                                  // immutable
	check   func(typeURL, name string, body []byte) error // immutable; may be nil

	buffers sync.Pool // of *[]byte, for what Lookup verifies

	writer writer // owned by the writing goroutine

	mu       sync.RWMutex
	arena    *slab.Arena   // guarded by mu
	tables   [kinds]table  // guarded by mu; the writer alone changes and may read it without
	routes   []*routeHosts // guarded by mu, as tables
	versions [kinds]string // guarded by mu
}

// writer is the state that only the writing goroutine touches.
type writer struct {
	walker *wire.Walker
	packed []byte
	body   []byte // a stored resource, unpacked for comparison
	rest   []byte
	lower  []byte
	hostID uint64
	epoch  uint32
}

// NewStore returns an empty store that accepts resources by these rules.
func NewStore(r wire.Rules) (*Store, error) {
	c, err := wire.NewChecker(r)
	if err != nil {
		return nil, fmt.Errorf("compile rules: %w", err)
	}
	p, err := slab.NewPacker()
	if err != nil {
		return nil, err
	}
	return &Store{checker: c, packer: p, writer: writer{walker: wire.NewWalker(c)}, arena: slab.NewArena()}, nil
}

// Judge makes check decide, beside the rules, about every resource that is new or changed. It is called before the
// first Begin.
func (s *Store) Judge(check func(typeURL, name string, body []byte) error) { s.check = check }

// Close gives the memory back; the store is empty afterwards.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables, s.routes = [kinds]table{}, nil
	return s.arena.Close()
}

// lookup finds the record of a name, or -1; the caller holds mu or is the writer.
func (s *Store) lookup(k kind, name string) int {
	return s.tables[k].find(s.checker.HashString(name), func(r *record) bool { return string(s.nameOf(r)) == name })
}

// lookupBytes is lookup without the need for a string.
func (s *Store) lookupBytes(k kind, key uint64, name []byte) int {
	return s.tables[k].find(key, func(r *record) bool { return string(s.nameOf(r)) == string(name) })
}

// nameOf shows the name of a record in place.
func (s *Store) nameOf(r *record) []byte { return s.arena.Bytes(r.at)[:r.name] }

// unpack appends the packed bytes of a record, without the virtual hosts of a RouteConfiguration.
func (s *Store) unpack(dst []byte, r *record) ([]byte, error) {
	return s.packer.Unpack(dst, s.arena.Bytes(r.at)[r.name:], int(r.raw))
}

// Get returns a copy of a resource, exactly as received.
func (s *Store) Get(typeURL, name string) ([]byte, bool) { return s.Append(nil, typeURL, name) }

// Raw is Get; it names what config dumps need.
func (s *Store) Raw(typeURL, name string) ([]byte, bool) { return s.Append(nil, typeURL, name) }

// Append is Get into a buffer of the caller.
func (s *Store) Append(dst []byte, typeURL, name string) ([]byte, bool) {
	k, ok := kindOf(typeURL)
	if !ok {
		return dst, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := s.lookup(k, name)
	if i < 0 || s.tables[k].records[i].state&present == 0 {
		return dst, false
	}
	out, err := s.join(dst, &s.tables[k].records[i])
	if err != nil {
		return dst, false
	}
	return out, true
}

// join appends a whole resource, putting the virtual hosts of a RouteConfiguration back in their places.
func (s *Store) join(dst []byte, r *record) ([]byte, error) {
	if r.route < 0 {
		return s.unpack(dst, r)
	}
	rest, err := s.unpack(nil, r)
	if err != nil {
		return dst, err
	}
	rh := s.routes[r.route]
	next := 0
	var body []byte
	for _, run := range rh.layout {
		dst = append(dst, rest[:run.rest]...)
		rest = rest[run.rest:]
		for range run.hosts {
			h := &rh.hosts[next]
			next++
			if body, err = s.packer.Unpack(body[:0], s.arena.Bytes(h.at), int(h.raw)); err != nil {
				return dst, err
			}
			dst = appendHost(dst, body)
		}
	}
	return dst, nil
}

// RouteTop returns the fields of a RouteConfiguration beside its virtual hosts.
func (s *Store) RouteTop(name string) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := s.lookup(rds, name)
	if i < 0 || s.tables[rds].records[i].state&present == 0 {
		return nil, false
	}
	out, err := s.unpack(nil, &s.tables[rds].records[i])
	return out, err == nil
}

// VHostRef names a virtual host of a route configuration. The ID changes when the meaning of the virtual host does,
// so equal IDs of one route mean equal content.
type VHostRef struct {
	Route string
	ID    uint64
	index int
}

// Lookup finds the virtual host for a host name, which is in small letters and has no port, in Envoy's order: exact,
// longest suffix wildcard, longest prefix wildcard, "*".
func (s *Store) Lookup(route, host string) (VHostRef, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rh := s.hostsOf(route)
	if rh == nil {
		return VHostRef{}, false
	}
	i := rh.search(s.checker, host, func(i int, before, after string) bool {
		buf, ok := s.buffers.Get().(*[]byte)
		if !ok {
			buf = new([]byte)
		}
		defer s.buffers.Put(buf)
		body, err := s.packer.Unpack((*buf)[:0], s.arena.Bytes(rh.hosts[i].at), int(rh.hosts[i].raw))
		if cap(body) <= maxScratch {
			*buf = body
		}
		return err == nil && hasDomain(body, before, after)
	})
	if i < 0 {
		return VHostRef{}, false
	}
	return VHostRef{Route: route, ID: rh.hosts[i].id, index: i}, true
}

// VHosts lists the virtual hosts of a route configuration in their order.
func (s *Store) VHosts(route string) []VHostRef {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rh := s.hostsOf(route)
	if rh == nil {
		return nil
	}
	refs := make([]VHostRef, len(rh.hosts))
	for i := range rh.hosts {
		refs[i] = VHostRef{Route: route, ID: rh.hosts[i].id, index: i}
	}
	return refs
}

// VHost appends the bytes of a virtual host to dst; false if it has changed or gone since the reference was made.
func (s *Store) VHost(dst []byte, ref VHostRef) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rh := s.hostsOf(ref.Route)
	if rh == nil {
		return dst, false
	}
	i := ref.index
	if i < 0 || i >= len(rh.hosts) || rh.hosts[i].id != ref.ID {
		i = slices.IndexFunc(rh.hosts, func(h host) bool { return h.id == ref.ID })
	}
	if i < 0 {
		return dst, false
	}
	out, err := s.packer.Unpack(dst, s.arena.Bytes(rh.hosts[i].at), int(rh.hosts[i].raw))
	return out, err == nil
}

// hostsOf finds the virtual hosts of a route configuration, or nil.
func (s *Store) hostsOf(route string) *routeHosts {
	i := s.lookup(rds, route)
	if i < 0 {
		return nil
	}
	r := &s.tables[rds].records[i]
	if r.state&present == 0 || r.route < 0 {
		return nil
	}
	return s.routes[r.route]
}

// Names lists the resources of a type that are held, in no order. Each is copied; the store may change meanwhile.
func (s *Store) Names(typeURL string) iter.Seq[string] {
	return func(yield func(string) bool) {
		k, ok := kindOf(typeURL)
		if !ok {
			return
		}
		for i := 0; ; i++ {
			name, more := s.nameAt(k, &i)
			if !more || !yield(name) {
				return
			}
		}
	}
}

// nameAt finds the next held resource from index *i on.
func (s *Store) nameAt(k kind, i *int) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := &s.tables[k]
	for ; *i < len(t.records); *i++ {
		if t.records[*i].state&present != 0 {
			return string(s.nameOf(&t.records[*i])), true
		}
	}
	return "", false
}

// Version returns what istiod called the last accepted response of a type.
func (s *Store) Version(typeURL string) string {
	k, ok := kindOf(typeURL)
	if !ok {
		return ""
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.versions[k]
}

// Usage is the memory of a Store.
type Usage struct {
	Resources int // resources held
	Raw       int // their bytes as received
	Packed    int // their bytes as stored, with names
	Garbage   int // bytes between them that wait for compaction
	Mapped    int // address space
}

// Usage reports the memory in use.
func (s *Store) Usage() Usage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u := Usage{Packed: s.arena.Live(), Garbage: s.arena.Used() - s.arena.Live(), Mapped: s.arena.Mapped()}
	for k := range kinds {
		u.Resources += s.tables[k].count
		u.Raw += s.tables[k].raw
	}
	return u
}

// Count returns how many resources of a type are held.
func (s *Store) Count(typeURL string) int {
	k, ok := kindOf(typeURL)
	if !ok {
		return 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tables[k].count
}

// compact moves records together when garbage has gathered; the writer calls it.
func (s *Store) compact() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.arena.Sparse() {
		return nil
	}
	return s.arena.Compact(func(move func(*slab.Ref)) {
		for k := range s.tables {
			for i := range s.tables[k].records {
				move(&s.tables[k].records[i].at)
			}
		}
		for _, rh := range s.routes {
			if rh == nil {
				continue
			}
			for i := range rh.hosts {
				move(&rh.hosts[i].at)
			}
		}
	})
}

var errNotStored = errors.New("cannot be stored")
