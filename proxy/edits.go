package proxy

import "github.com/outrigger-mesh/outrigger/proxy/httpmsg"

// EditAction says what an edit does with a header that is there already.
type EditAction uint8

// The append actions of Envoy's HeaderValueOption.
const (
	// AppendOrAdd adds another field.
	AppendOrAdd EditAction = iota
	// AddIfAbsent adds only where there is none.
	AddIfAbsent
	// OverwriteOrAdd replaces, or adds.
	OverwriteOrAdd
	// OverwriteIfExists replaces only.
	OverwriteIfExists
)

// HeaderEdit sets or adds one header.
type HeaderEdit struct {
	Name   string // lower case
	Action EditAction
	// Value is the literal value; Format, where set, computes it instead from the
	// exchange before any edit of the same list.
	Value  string
	Format func(*Exchange) string
	// KeepEmpty sends the header also where its value is empty.
	KeepEmpty bool
}

// HeaderEdits is one level's list of header changes.
type HeaderEdits struct {
	Remove []string // lower case
	Set    []HeaderEdit
}

// apply changes h: removals first, then, all values being computed against what
// is there now, overwrites before appends. As in Envoy a field that is overwritten
// moves to the end, and what is appended to a field of once is joined to it.
func (e *HeaderEdits) apply(x *Exchange, h *httpmsg.Header, once map[string]bool) {
	if e == nil {
		return
	}
	for _, name := range e.Remove {
		h.Del(name)
	}
	var room [8]string
	values := room[:0]
	for i := range e.Set {
		values = append(values, e.Set[i].value(x))
	}
	for i := range e.Set {
		s := &e.Set[i]
		if values[i] == "" && !s.KeepEmpty {
			continue
		}
		switch s.Action {
		case OverwriteOrAdd:
			h.Del(s.Name)
			h.Add(s.Name, values[i])
		case OverwriteIfExists:
			if h.Has(s.Name) {
				h.Del(s.Name)
				h.Add(s.Name, values[i])
			}
		case AppendOrAdd, AddIfAbsent:
		}
	}
	for i := range e.Set {
		s := &e.Set[i]
		if values[i] == "" && !s.KeepEmpty {
			continue
		}
		switch {
		case s.Action == AppendOrAdd && once[s.Name] && joinTo(h.Fields, s.Name, values[i]):
		case s.Action == AppendOrAdd, s.Action == AddIfAbsent && !h.Has(s.Name):
			h.Add(s.Name, values[i])
		}
	}
}

func (s *HeaderEdit) value(x *Exchange) string {
	if s.Format != nil {
		return s.Format(x)
	}
	return s.Value
}
