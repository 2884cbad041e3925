package xds

import (
	"errors"
	"fmt"
	"slices"
)

// Remove stages the removal of a resource; a name that is not held is ignored.
func (b *Batch) Remove(name []byte) {
	if b.s.has(b.kind, string(name)) {
		b.removed = append(b.removed, string(name))
	} else {
		b.change.Unheld = append(b.change.Unheld, string(name))
	}
}

// unrefer stages the references of the resources that go.
func (b *Batch) unrefer() error {
	s, w := b.s, &b.s.writer
	var errs []error
	b.removed = slices.DeleteFunc(b.removed, func(name string) bool {
		key := s.checker.HashString(name)
		_, twice := b.seen[key] // what the response also brings stays
		b.seen[key] = struct{}{}
		return twice
	})
	if b.kind != cds && b.kind != lds {
		return nil
	}
	for _, name := range b.removed {
		var err error
		if w.body, err = s.join(w.body[:0], &s.tables[b.kind].records[s.lookup(b.kind, name)]); err == nil {
			_, err = w.walker.Walk(b.kind.typeName(), w.body, false)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.note(-1, true)
	}
	return errors.Join(errs...)
}

// Commit publishes what was staged, all at once, and returns what changed. The error names resources that could not
// be settled; the others are.
func (b *Batch) Commit(version string) (Change, error) {
	s := b.s
	var errs []error
	if err := b.unrefer(); err != nil {
		errs = append(errs, err)
	}
	s.mu.Lock()
	for i := range b.staged {
		b.publish(&b.staged[i])
	}
	for _, name := range b.removed {
		b.takeAway(name)
	}
	for _, r := range b.refs {
		if err := s.refer(r); err != nil {
			errs = append(errs, err)
		}
	}
	s.versions[b.kind] = version
	s.mu.Unlock()
	if cap(s.writer.body) > maxScratch {
		s.writer.body = nil
	}
	if cap(s.writer.rest) > maxScratch {
		s.writer.rest = nil
	}
	if err := s.compact(); err != nil {
		errs = append(errs, err)
	}
	return b.change, errors.Join(errs...)
}

// publish puts one staged resource in the place of the one before; the caller holds mu.
func (b *Batch) publish(st *staged) {
	s := b.s
	t := &s.tables[b.kind]
	rec := st.rec
	rec.epoch = s.writer.epoch
	rec.state = used | present
	i := s.lookupBytes(b.kind, rec.key, st.name)
	if i < 0 {
		rec.route = s.keepHosts(st.route)
		t.insert(rec)
	} else {
		old := &t.records[i]
		if old.state&present != 0 {
			t.count--
			t.raw -= int(old.size)
		}
		rec.refs, rec.state = old.refs, rec.state|old.state
		s.free(old)
		rec.route = s.keepHosts(st.route)
		*old = rec
	}
	t.count++
	t.raw += int(rec.size)
	b.change.Changed = append(b.change.Changed, string(st.name))
	if b.kind == rds {
		b.change.Routes = append(b.change.Routes, st.route.change)
	}
}

// takeAway removes a resource; its name stays known while it is referred to. The caller holds mu.
func (b *Batch) takeAway(name string) {
	s := b.s
	t := &s.tables[b.kind]
	i := s.lookup(b.kind, name)
	if i < 0 || t.records[i].state&present == 0 {
		return
	}
	r := &t.records[i]
	t.count--
	t.raw -= int(r.size)
	b.change.Removed = append(b.change.Removed, name)
	keep := record{key: r.key, name: r.name, refs: r.refs, epoch: r.epoch, state: r.state &^ present, route: -1}
	s.free(r)
	if keep.refs == 0 && keep.state&subscribed == 0 {
		t.remove(i)
		return
	}
	at, err := s.arena.Put([]byte(name), nil)
	if err != nil {
		t.remove(i) // it will be asked for again when something refers to it
		return
	}
	keep.at = at
	*r = keep
}

// refer counts a reference; the caller holds mu.
func (s *Store) refer(r stagedRef) error {
	if len(r.name) == 0 || len(r.name) > maxName {
		return nil
	}
	t := &s.tables[r.kind]
	key := s.checker.Hash(r.name)
	if i := s.lookupBytes(r.kind, key, r.name); i >= 0 {
		if n := int64(t.records[i].refs) + int64(r.delta); n >= 0 {
			t.records[i].refs = uint32(n)
		}
		return nil
	}
	if r.delta <= 0 {
		return nil
	}
	at, err := s.arena.Put(r.name, nil)
	if err != nil {
		return fmt.Errorf("name %s: %w", quote(r.name), err)
	}
	t.insert(record{key: key, name: uint16(len(r.name)), refs: 1, at: at, state: used, route: -1})
	return nil
}
