package xds

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/outrigger-mesh/outrigger/xds/slab"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// Change says what a response changed.
type Change struct {
	TypeURL string
	Changed []string // added, or with another meaning than before
	Removed []string
	// Unheld are removed names that were not held: those of resources that were refused.
	Unheld    []string
	Unchanged int
	Routes    []RouteChange // details of the changed route configurations
	// Complete is set for a response that names all resources of its type.
	Complete bool
}

// Empty reports whether nothing changed.
func (c *Change) Empty() bool { return len(c.Changed) == 0 && len(c.Removed) == 0 }

// RouteChange says what changed within one route configuration.
type RouteChange struct {
	Route string
	// New route configurations do not list their virtual hosts.
	New bool
	// Top is set if a field beside the virtual hosts changed.
	Top     bool
	Changed []string // names of virtual hosts, added or changed
	Removed []string
}

// Batch stages the resources of one response: the store changes at Commit only.
type Batch struct {
	s       *Store
	kind    kind
	staged  []staged
	removed []string
	refs    []stagedRef
	seen    map[uint64]struct{} // hashes of the names in the response
	change  Change
}

// staged is one changed resource; name points into the response, which must stay until Commit.
type staged struct {
	name  []byte
	rec   record
	route *stagedRoute // of a RouteConfiguration
}

// stagedRoute is what is particular to a RouteConfiguration.
type stagedRoute struct {
	hosts  *routeHosts
	change RouteChange
}

// stagedRef is a reference that appears or goes with the batch.
type stagedRef struct {
	kind  kind
	delta int
	name  []byte
}

// refKinds translates what the walk found.
var refKinds = [...]kind{wire.EDS: eds, wire.RDS: rds, wire.ECDS: ecds, wire.SDS: sds}

// Begin starts a batch. There must be one at a time, by one goroutine.
func (s *Store) Begin(typeURL string) (*Batch, error) {
	k, ok := kindOf(typeURL)
	if !ok {
		return nil, fmt.Errorf("type %q was not asked for", typeURL)
	}
	return &Batch{s: s, kind: k, seen: map[uint64]struct{}{}, change: Change{TypeURL: typeURL}}, nil
}

// Add validates and stages one resource. An error names the resource and the field; the others are not affected.
// The bytes must stay as they are until Commit.
func (b *Batch) Add(name, body []byte) error {
	if err := b.add(name, body); err != nil {
		b.s.touch(b.kind, name) // what is held stays, and istiod still names it
		return fmt.Errorf("%s %s: %w", traits[b.kind].noun, quote(name), err)
	}
	return nil
}

func quote(name []byte) string { return strconv.Quote(string(name[:min(len(name), 256)])) }

func (b *Batch) add(name, body []byte) error {
	s, w, mark := b.s, &b.s.writer, len(b.refs)
	if len(name) == 0 && b.kind != nds || len(name) > maxName {
		return fmt.Errorf("the name must have 1 to %d bytes", maxName)
	}
	key, bytes := s.checker.Hash(name), s.checker.Hash(body)
	if _, twice := b.seen[key]; twice {
		return errTwice
	}
	b.seen[key] = struct{}{}
	i := s.lookupBytes(b.kind, key, name)
	var old *record
	if i >= 0 && s.tables[b.kind].records[i].state&present != 0 {
		old = &s.tables[b.kind].records[i]
		if old.bytes == bytes {
			b.keep(old)
			return nil
		}
	}
	rec := record{key: key, bytes: bytes, name: uint16(len(name)), raw: uint32(len(body)), size: uint32(len(body)), route: -1}
	if old != nil {
		same, err := b.compare(old, &rec, body)
		if err != nil {
			return err
		}
		if same {
			b.keep(old)
			return nil
		}
	} else if _, err := w.walker.Walk(b.kind.typeName(), body, false); err != nil {
		return err
	}
	if s.check != nil {
		if err := s.check(traits[b.kind].url, string(name), body); err != nil {
			b.refs = b.refs[:mark]
			return err
		}
	}
	b.note(+1, false)
	st := staged{name: name, rec: rec}
	if err := b.write(&st, old, body); err != nil {
		return err
	}
	b.staged = append(b.staged, st)
	return nil
}

// keep counts a resource that did not change.
func (b *Batch) keep(old *record) {
	old.epoch = b.s.writer.epoch
	b.change.Unchanged++
}

// compare walks the new bytes of a held resource and says whether they mean the same. The references of the old bytes
// are staged to go if they do not, and the walk of the new bytes is the last one, so that its references can be read.
func (b *Batch) compare(old, rec *record, body []byte) (bool, error) {
	s, w := b.s, &b.s.writer
	free, err := w.walker.Walk(b.kind.typeName(), body, true)
	if err != nil {
		return false, err
	}
	rec.free = free
	if b.kind == eds && old.free != 0 { // what refers to nothing need not be walked for its references
		return old.free == free, nil
	}
	if old.free == 0 || old.free != free {
		if w.body, err = s.join(w.body[:0], old); err != nil {
			return false, err
		}
		h, err := w.walker.Walk(b.kind.typeName(), w.body, true)
		if err != nil {
			return false, err // it was accepted before
		}
		old.free = h
	}
	if old.free == free {
		return true, nil
	}
	if b.kind == eds {
		return false, nil
	}
	b.note(-1, true)
	_, err = w.walker.Walk(b.kind.typeName(), body, false)
	return false, err
}

// note stages the references of the last walk.
func (b *Batch) note(delta int, keep bool) {
	for _, r := range b.s.writer.walker.Refs {
		name := r.Name
		if keep {
			name = append([]byte(nil), name...)
		}
		b.refs = append(b.refs, stagedRef{refKinds[r.Kind], delta, name})
	}
}

// write packs a changed resource into the arena; nobody sees it before Commit.
func (b *Batch) write(st *staged, old *record, body []byte) error {
	s, w := b.s, &b.s.writer
	if b.kind == rds {
		if !canonical(body) {
			return errors.New("virtual_hosts: the length is not in its shortest form")
		}
		if err := b.writeHosts(st, old, body); err != nil {
			return err
		}
		body = w.rest
		st.rec.raw = uint32(len(body))
	}
	at, err := s.put(st.name, body)
	if err != nil {
		b.undo(st, old)
		return err
	}
	st.rec.at = at
	return nil
}

// put packs bytes behind a name.
func (s *Store) put(name, body []byte) (slab.Ref, error) {
	w := &s.writer
	packed := s.packer.Pack(w.packed, body)
	if cap(packed) <= maxScratch {
		w.packed = packed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.arena.Put(name, packed)
	if err != nil {
		return at, fmt.Errorf("%w: %w", errNotStored, err)
	}
	return at, nil
}

// maxScratch bounds the scratch memory that is kept between resources.
const maxScratch = 1 << 20

var errTwice = errors.New("comes twice in one response")
