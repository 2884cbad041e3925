package xds

// pending returns up to limit names that are referred to and not subscribed yet, and marks them so.
func (s *Store) pending(k kind, limit int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for i := range s.tables[k].records {
		r := &s.tables[k].records[i]
		if r.state&used == 0 || r.state&subscribed != 0 || r.refs == 0 {
			continue
		}
		if len(names) == limit {
			break
		}
		r.state |= subscribed
		names = append(names, string(s.nameOf(r)))
	}
	return names
}

// drop forgets everything of a named type that nothing refers to any more. It returns the names to unsubscribe, and
// those of resources that were held.
func (s *Store) drop(k kind) (unsubscribe, removed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tables[k]
	for i := range t.records {
		r := &t.records[i]
		if r.state&used == 0 || r.refs > 0 {
			continue
		}
		name := string(s.nameOf(r))
		if r.state&subscribed != 0 {
			unsubscribe = append(unsubscribe, name)
		}
		if r.state&present != 0 {
			removed = append(removed, name)
			t.count--
			t.raw -= int(r.size)
		}
		s.free(r)
		t.remove(i)
	}
	return unsubscribe, removed
}

// newStream forgets what the last stream was asked for, and starts a new epoch.
func (s *Store) newStream() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writer.epoch++
	for k := range s.tables {
		for i := range s.tables[k].records {
			s.tables[k].records[i].state &^= subscribed
		}
	}
}

// touch notes that istiod named a resource on this stream; the writer calls it.
func (s *Store) touch(k kind, name []byte) {
	if i := s.lookupBytes(k, s.checker.Hash(name), name); i >= 0 {
		s.tables[k].records[i].epoch = s.writer.epoch
	}
}

// stale returns the held resources of a type that were not named on this stream.
func (s *Store) stale(k kind) [][]byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names [][]byte
	for i := range s.tables[k].records {
		if r := &s.tables[k].records[i]; r.state&present != 0 && r.epoch != s.writer.epoch {
			names = append(names, append([]byte(nil), s.nameOf(r)...))
		}
	}
	return names
}

// heldNames returns the names of held resources, as many as have room in limit bytes.
func (s *Store) heldNames(k kind, limit int) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for i := range s.tables[k].records {
		r := &s.tables[k].records[i]
		if r.state&present == 0 || r.name == 0 {
			continue
		}
		if limit -= int(r.name) + 8; limit < 0 {
			break
		}
		names = append(names, string(s.nameOf(r)))
	}
	return names
}

// has reports whether a resource is held.
func (s *Store) has(k kind, name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := s.lookup(k, name)
	return i >= 0 && s.tables[k].records[i].state&present != 0
}

// missing counts the names of a type that are referred to and have not arrived.
func (s *Store) missing(k kind) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for i := range s.tables[k].records {
		if r := &s.tables[k].records[i]; r.refs > 0 && r.state&present == 0 {
			n++
		}
	}
	return n
}
