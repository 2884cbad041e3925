package wire

import (
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

// Extension is one place where a resource holds an Any.
type Extension struct {
	// Name is what the resource calls it, for example the name of a filter; empty where the place has no name.
	Name []byte
	// Type is the type name of the content; that of the inner content where it is a TypedStruct.
	Type  []byte
	field int32
}

// Context returns the full name of the field that holds the extension, as Rules spell it.
func (e *Extension) Context() string { return contextName(int(e.field)) }

// holding is what a message on the path says about the extension in it.
type holding struct {
	context int32 // the field by which rules are looked up where it is not the Any field itself, or -1
	name    []byte
	lax     bool   // optional or disabled: unsupported means ignored
	config  []byte // the content of config_discovery
	found   bool   // an Any or config_discovery is there
}

// hold reads ahead what message m says about its extension.
func (w *Walker) hold(m *shape.Message, b []byte) {
	h := &w.holders[w.depth]
	*h = holding{context: -1}
	if w.depth > 0 {
		up := w.steps[w.depth-1].field
		switch {
		case up < 0:
		case shape.Fields[up].Form == shape.Map:
			h.context = up
		case m.Check&shape.Transparent == 0:
		case shape.Messages[shape.Fields[up].Msg].Check&shape.Any != 0:
			outer := &w.holders[w.depth-1]
			h.context, h.name, h.lax = outer.context, outer.name, outer.lax
			if h.context < 0 {
				h.context = up
			}
		default:
			h.context = up
		}
	}
	for c := (Cursor{Rest: b}); c.Next(); {
		at := fieldAt(m, uint64(c.Num))
		if at < 0 {
			continue
		}
		switch fieldName(at) {
		case "name", "key":
			if c.Type == wireBytes && shape.Fields[at].Kind == shape.Text {
				h.name = c.Val
			}
		case "is_optional", "disabled":
			h.lax = h.lax || c.Type == wireVarint && c.Bits != 0
		case "config_discovery":
			h.config, h.found = c.Val, true
		default:
			if shape.Fields[at].Kind == shape.Nested && shape.Messages[shape.Fields[at].Msg].Check&shape.Any != 0 {
				h.found = true
			}
		}
		if fieldName(at) == "typed_config" {
			h.found = true
		}
	}
}

// release decides, behind the last field of a holder, about an extension without content of its own.
func (w *Walker) release(m *shape.Message) {
	h := &w.holders[w.depth]
	if w.quiet > 0 {
		return
	}
	at := typedConfig(m)
	if at < 0 {
		return
	}
	if h.context >= 0 {
		at = int(h.context)
	}
	if !h.found {
		if len(h.name) > 0 && w.checker.contexts[at] != nil {
			w.judge(at, h, h.name, w.depth-1)
		}
		return
	}
	if h.config == nil {
		return
	}
	w.Refs = append(w.Refs, Ref{Kind: ECDS, Name: h.name})
	// ExtensionConfigSource: config_source 1, type_urls 4.
	for c := (Cursor{Rest: h.config}); c.Next(); {
		if c.Num == 4 && c.Type == wireBytes {
			w.judge(at, h, TypeName(c.Val), w.depth-1)
		}
	}
}

func typedConfig(m *shape.Message) int {
	for i := int(m.First); i < int(m.First)+int(m.Count); i++ {
		if fieldName(i) == "typed_config" {
			return i
		}
	}
	return -1
}

// judge asks the rules about an extension and reports a rejection at depth.
func (w *Walker) judge(context int, h *holding, key []byte, depth int) Action {
	v := w.checker.verdict(context, key)
	if v.Action == Reject && h.lax {
		return Ignore
	}
	if v.Action != Reject {
		return v.Action
	}
	who, why := h.name, v.Reason
	if len(who) == 0 {
		who = key
	}
	if why == "" {
		why = "is not supported"
	}
	w.problem(depth, bounded(who)+" "+why)
	return Reject
}

// unwrap reads an Any: type_url 1, value 2.
func unwrap(b []byte) (url, val []byte, err error) {
	var seen [3]bool
	c := Cursor{Rest: b}
	for c.Next() {
		if c.Num > 2 {
			continue
		}
		if c.Type != wireBytes {
			return nil, nil, errWireType
		}
		if seen[c.Num] {
			return nil, nil, errTwice
		}
		seen[c.Num] = true
		if c.Num == 1 {
			url = c.Val
		} else {
			val = c.Val
		}
	}
	if c.Err == nil && !utf8.Valid(url) {
		return nil, nil, errUTF8
	}
	return url, val, c.Err
}

// any walks the content of an Any.
func (w *Walker) any(b []byte) (uint64, error) {
	url, val, err := unwrap(b)
	if err != nil {
		return 0, err
	}
	name := TypeName(url)
	act := w.extension(name, val)
	if act == Reject {
		return 0, nil
	}
	root := rootOf(name)
	if root == noMessage {
		if act == Accept && w.quiet == 0 && len(name) > 0 {
			w.problem(w.depth-1, "unknown type "+bounded(name))
		}
		if !w.hashing {
			return 0, nil
		}
		return w.mix(w.checker.Hash(name), w.checker.Hash(val)), nil
	}
	if act == Ignore {
		w.Ignored++
		w.quiet++
		defer func() { w.quiet-- }()
	}
	hash, err := w.message(root, val)
	if err != nil || !w.hashing {
		return 0, err
	}
	return w.mix(w.checker.Hash(name), hash), nil
}

// extension records the Any at the current depth and decides about it.
func (w *Walker) extension(name, val []byte) Action {
	if w.depth == 0 {
		return Accept
	}
	h := &w.holders[w.depth-1]
	context := w.steps[w.depth-1].field
	if h.context >= 0 {
		context = h.context
	}
	key := name
	if string(name) == "udpa.type.v1.TypedStruct" || string(name) == "xds.type.v3.TypedStruct" {
		// TypedStruct: type_url 1, value 2.
		for c := (Cursor{Rest: val}); c.Next(); {
			if c.Num == 1 && c.Type == wireBytes && len(c.Val) > 0 {
				key = TypeName(c.Val)
			}
		}
	}
	if w.quiet > 0 {
		return Accept
	}
	if w.KeepExtensions {
		w.Extensions = append(w.Extensions, Extension{Name: h.name, Type: key, field: context})
	}
	if string(name) == "envoy.config.route.v3.FilterConfig" {
		return Accept // it only wraps the configuration about which the same rules decide
	}
	at := w.depth - 1
	if len(h.name) > 0 {
		at-- // the holder is known by its name
	}
	return w.judge(int(context), h, key, at)
}
