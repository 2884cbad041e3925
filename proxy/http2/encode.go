package http2

import (
	"hash/maphash"
	"strings"
)

const (
	// maxTable is the most memory that our compression takes in a peer's decoder, and
	// in our encoder.
	maxTable = 4096
	// maxEntry is the largest field worth a place in it.
	maxEntry = maxTable / 4
	// entryOverhead is what each entry counts beyond its strings (RFC 7541 section 4.1).
	entryOverhead = 32
	// staticLen is the number of entries of the static table.
	staticLen = 61

	slotCount = 128
	seenCount = 64
	probes    = 4
)

// encoder compresses heads (RFC 7541). A field takes a place in the dynamic table when
// its value comes for the second time, unless its name says that it will not come
// again, so that what differs in each message never pushes out what does not.
// Strings are not Huffman-coded: within a mesh the bytes cost less than the coding.
// It is guarded by the connection's lock.
type encoder struct {
	seed maphash.Seed
	// seen holds hashes of fields that came once.
	seen [seenCount]uint32
	// slots find an entry by its hash: its number of insertion, and one.
	slots [slotCount]uint32

	entries []entry // a ring; entry number n is at n % len
	first   uint32  // number of the oldest
	next    uint32  // number of the next
	size    int     // of all entries
	limit   int     // of the peer's table
	lowest  int     // limit since the last head, where it was changed
	changed bool
}

// entry is a field in the dynamic table.
type entry struct {
	name, value string
}

func (e *entry) size() int { return len(e.name) + len(e.value) + entryOverhead }

func (e *encoder) init() {
	e.seed = maphash.MakeSeed()
	e.limit = maxTable
}

// resize obeys a peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *encoder) resize(n uint32) {
	limit := int(min(n, maxTable))
	if limit == e.limit {
		return
	}
	if !e.changed {
		e.changed, e.lowest = true, limit
	}
	e.lowest = min(e.lowest, limit)
	e.limit = limit
	e.evict(0)
}

// begin starts a header block.
func (e *encoder) begin(b []byte) []byte {
	if !e.changed {
		return b
	}
	e.changed = false
	if e.lowest < e.limit {
		b = appendInt(b, 0x20, 5, e.lowest)
	}
	return appendInt(b, 0x20, 5, e.limit)
}

// field appends one field.
func (e *encoder) field(b []byte, name, value string) []byte {
	index, policy := classify(name)
	switch policy {
	case neverIndex:
		return appendLiteral(b, 0x10, 4, index, name, value)
	case doNotIndex:
		return appendLiteral(b, 0x00, 4, index, name, value)
	case mayIndex:
	}
	if i := exact(index, value); i > 0 {
		return append(b, 0x80|byte(i))
	}
	return e.dynamic(b, index, name, value)
}

// dynamic appends a field that may be, or come, in the dynamic table.
func (e *encoder) dynamic(b []byte, index int, name, value string) []byte {
	size := len(name) + len(value) + entryOverhead
	if size > maxEntry || size > e.limit {
		return appendLiteral(b, 0x00, 4, index, name, value)
	}
	h := e.hash(name, value)
	if n, ok := e.find(h, name, value); ok {
		return appendInt(b, 0x80, 7, staticLen+int(e.next-n))
	}
	if at := &e.seen[h%seenCount]; *at != h {
		*at = h
		return appendLiteral(b, 0x00, 4, index, name, value)
	}
	b = appendLiteral(b, 0x40, 6, index, name, value)
	e.insert(h, strings.Clone(name), strings.Clone(value))
	return b
}

func (e *encoder) hash(name, value string) uint32 {
	h := maphash.String(e.seed, value)
	h ^= uint64(len(name)) * 0x9e3779b97f4a7c15
	if len(name) > 0 {
		h ^= uint64(name[0])<<8 | uint64(name[len(name)-1])<<16
	}
	return uint32(h>>32) ^ uint32(h) //nolint:gosec // a hash is cut
}

// find returns the number of the entry that holds the field.
func (e *encoder) find(h uint32, name, value string) (uint32, bool) {
	for i := range uint32(probes) {
		n := e.slots[(h+i)%slotCount] - 1
		if n-e.first >= e.next-e.first { // empty, or evicted
			continue
		}
		if at := e.at(n); at.value == value && at.name == name {
			return n, true
		}
	}
	return 0, false
}

func (e *encoder) at(n uint32) *entry { return &e.entries[n%uint32(len(e.entries))] } //nolint:gosec // at most 128

// insert adds an entry as the peer's decoder does.
func (e *encoder) insert(h uint32, name, value string) {
	add := entry{name, value}
	e.evict(add.size())
	if int(e.next-e.first) == len(e.entries) {
		e.enlarge()
	}
	n := e.next
	*e.at(n) = add
	e.next++
	e.size += add.size()
	best := h % slotCount
	for i := range uint32(probes) {
		at := (h + i) % slotCount
		held := e.slots[at] - 1
		if held-e.first >= n-e.first {
			best = at
			break
		}
		if e.slots[at] < e.slots[best] {
			best = at
		}
	}
	e.slots[best] = n + 1
}

// evict makes room for n bytes.
func (e *encoder) evict(n int) {
	for e.first != e.next && e.size+n > e.limit {
		at := e.at(e.first)
		e.size -= at.size()
		*at = entry{}
		e.first++
	}
}

// enlarge doubles the ring, whose length stays a power of two so that numbers may
// wrap.
func (e *encoder) enlarge() {
	old := e.entries
	e.entries = make([]entry, max(8, 2*len(old)))
	for n := e.first; n != e.next; n++ {
		*e.at(n) = old[n%uint32(len(old))] //nolint:gosec // at most 128
	}
}

// appendLiteral appends a field whose name is that of an entry of the static table,
// or spelled out where index is 0.
func appendLiteral(b []byte, pattern byte, prefix, index int, name, value string) []byte {
	b = appendInt(b, pattern, prefix, index)
	if index == 0 {
		b = appendString(b, name)
	}
	return appendString(b, value)
}

func appendString(b []byte, s string) []byte {
	b = appendInt(b, 0, 7, len(s))
	return append(b, s...)
}

// appendInt appends an integer with a prefix of so many bits (RFC 7541 section 5.1).
func appendInt(b []byte, pattern byte, prefix, n int) []byte {
	limit := 1<<prefix - 1
	if n < limit {
		return append(b, pattern|byte(n))
	}
	b = append(b, pattern|byte(limit))
	for n -= limit; n >= 0x80; n >>= 7 {
		b = append(b, 0x80|byte(n))
	}
	return append(b, byte(n))
}

// path appends :path. Only a short one without a query is likely to come again.
func (e *encoder) path(b []byte, path string) []byte {
	if len(path) > 64 || strings.IndexByte(path, '?') >= 0 {
		return appendLiteral(b, 0x00, 4, 4, ":path", path)
	}
	return e.field(b, ":path", path)
}
