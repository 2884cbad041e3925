package echo

// table is the dynamic table that this side's header blocks use (RFC 7541). It only
// grows, so that encoded blocks stay valid until something enters it; when it is full,
// further fields are sent as they are.
type table struct {
	entries []field
	size    int
	limit   int
	shrunk  bool // the other side must be told, in the next block
}

type field struct{ name, value string }

// Names that the static table has.
var staticNames = map[string]int{"content-length": 28, "content-type": 31}

// staticOK is the static table's :status 200.
const staticOK = 8

// resize begins with an empty table of another size.
func (t *table) resize(limit int) {
	if limit == t.limit && len(t.entries) == 0 {
		return
	}
	*t = table{limit: limit, shrunk: true}
}

// append encodes a header block; changed says that other blocks, and this one when it
// comes again, look different from now on.
func (t *table) append(b []byte, fields []field) (block []byte, changed bool) {
	before := len(t.entries)
	if t.shrunk { // 0 first: what was in it is gone
		b = appendInt(appendInt(b, 0x20, 5, 0), 0x20, 5, t.limit)
	}
	changed, t.shrunk = t.shrunk, false
	for _, f := range fields {
		b = t.appendField(b, f)
	}
	return b, changed || len(t.entries) != before
}

func (t *table) appendField(b []byte, f field) []byte {
	if f == (field{":status", "200"}) {
		return appendInt(b, 0x80, 7, staticOK)
	}
	for i, e := range t.entries {
		if e == f {
			return appendInt(b, 0x80, 7, 61+len(t.entries)-i)
		}
	}
	first, prefix := byte(0x00), 4
	if size := len(f.name) + len(f.value) + 32; t.size+size <= t.limit {
		first, prefix = 0x40, 6
		t.size += size
		t.entries = append(t.entries, f)
	}
	b = appendInt(b, first, prefix, staticNames[f.name])
	if staticNames[f.name] == 0 {
		b = appendText(b, f.name)
	}
	return appendText(b, f.value)
}

// appendInt writes a number behind the bits of first.
func appendInt(b []byte, first byte, prefix, n int) []byte {
	limit := 1<<prefix - 1
	if n < limit {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(limit))
	for n -= limit; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func appendText(b []byte, s string) []byte { return append(appendInt(b, 0, 7, len(s)), s...) }
