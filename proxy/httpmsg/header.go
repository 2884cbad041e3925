package httpmsg

import "strings"

// Field is one header line.
type Field struct {
	// Name is lower case.
	Name  string
	Value string
}

// Header is an ordered list of fields. The zero value is empty and ready.
type Header struct {
	Fields []Field
	// Spelling, where not nil, tells how names were written.
	Spelling *Spelling
}

// Len is the number of fields.
func (h *Header) Len() int { return len(h.Fields) }

// Reset empties the header and keeps its memory.
func (h *Header) Reset() {
	clear(h.Fields)
	h.Fields = h.Fields[:0]
}

// Get returns the first value of a lower-case name.
func (h *Header) Get(name string) (string, bool) {
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			return h.Fields[i].Value, true
		}
	}
	return "", false
}

// Value is Get for callers that treat absent and empty alike.
func (h *Header) Value(name string) string {
	v, _ := h.Get(name)
	return v
}

// Has reports whether a field of that lower-case name is present.
func (h *Header) Has(name string) bool {
	_, ok := h.Get(name)
	return ok
}

// Count is the number of fields of a lower-case name.
func (h *Header) Count(name string) int {
	n := 0
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			n++
		}
	}
	return n
}

// Joined returns all values of a name joined by "," without a space, as Envoy's
// matchers see a repeated header.
func (h *Header) Joined(name string) (string, bool) {
	first, ok := h.Get(name)
	if !ok || h.Count(name) == 1 {
		return first, ok
	}
	var b strings.Builder
	seen := false
	for i := range h.Fields {
		if h.Fields[i].Name != name {
			continue
		}
		if seen {
			b.WriteByte(',')
		}
		seen = true
		b.WriteString(h.Fields[i].Value)
	}
	return b.String(), true
}

// Add appends a field at the end. The name must be lower case.
func (h *Header) Add(name, value string) {
	h.Fields = append(h.Fields, Field{Name: name, Value: value})
}

// Set replaces the value of the first field of that name in place and removes the
// others, or appends a new field.
func (h *Header) Set(name, value string) {
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			h.Fields[i].Value = value
			h.deleteFrom(i+1, name)
			return
		}
	}
	h.Add(name, value)
}

// Del removes every field of that lower-case name.
func (h *Header) Del(name string) { h.deleteFrom(0, name) }

func (h *Header) deleteFrom(start int, name string) {
	for i := start; i < len(h.Fields); i++ {
		if h.Fields[i].Name == name {
			h.compact(i, name)
			return
		}
	}
}

// compact removes the fields of that name from index first on, which is one.
func (h *Header) compact(first int, name string) {
	kept := h.Fields[:first]
	for _, f := range h.Fields[first+1:] {
		if f.Name != name {
			kept = append(kept, f)
		}
	}
	clear(h.Fields[len(kept):])
	h.Fields = kept
}

// DeleteFunc removes the fields for which del is true.
func (h *Header) DeleteFunc(del func(Field) bool) {
	kept := h.Fields[:0]
	for _, f := range h.Fields {
		if !del(f) {
			kept = append(kept, f)
		}
	}
	clear(h.Fields[len(kept):])
	h.Fields = kept
}

// Clone copies the header and its strings, so that the copy may be kept.
func (h *Header) Clone() Header {
	if len(h.Fields) == 0 {
		return Header{}
	}
	c := make([]Field, len(h.Fields))
	for i, f := range h.Fields {
		c[i] = Field{Name: strings.Clone(f.Name), Value: strings.Clone(f.Value)}
	}
	return Header{Fields: c}
}
