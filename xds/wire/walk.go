package wire

import (
	"encoding/binary"
	"hash/maphash"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

// maxDepth bounds the nesting of messages; Envoy's parser stops at the same depth.
const maxDepth = 100

// Walker walks one resource after the other; its results are valid until the next walk.
type Walker struct {
	checker *Checker // immutable
	salt    [3]uint64

	// Refs are the resources that the last one refers to.
	Refs []Ref
	// Extensions are the places where the last one holds an Any, gathered if KeepExtensions is set.
	Extensions     []Extension
	KeepExtensions bool
	// Ignored counts the extensions that were ignored.
	Ignored int

	problems []Problem
	steps    [maxDepth + 2]step
	depth    int
	holders  [maxDepth + 2]holding
	quiet    int  // within this many ignored extensions
	hashing  bool // the order-free hash is wanted
	eds      bool // the resource is a ClusterLoadAssignment
	large    bool // and its endpoints are remembered
	memo     memo
	regexes  regexSet
	domains  []uint64
	lower    []byte
}

// step is one element of the field path: a field and the position in its list.
type step struct {
	field int32
	index int32
}

// NewWalker returns a walker that obeys c.
func NewWalker(c *Checker) *Walker {
	w := &Walker{checker: c, memo: newMemo()}
	for i, s := range []string{"a", "b", "c"} {
		w.salt[i] = maphash.String(c.seed, s) | 1
	}
	return w
}

// Walk validates the bytes of one message. hashed asks for the order-free hash, which is 0 otherwise and never 0 then.
func (w *Walker) Walk(typeName string, b []byte, hashed bool) (uint64, error) {
	w.Refs, w.Extensions, w.problems, w.Ignored = w.Refs[:0], w.Extensions[:0], w.problems[:0], 0
	w.depth, w.quiet, w.hashing = 0, 0, hashed
	w.eds = typeName == "envoy.config.endpoint.v3.ClusterLoadAssignment"
	if w.large = w.eds && hashed && len(b) >= memoFrom && !w.KeepExtensions; w.large {
		w.memo.grow(len(b))
	}
	root := rootOf([]byte(typeName))
	if root == noMessage {
		return 0, &Problem{Text: typeName + " is not a known type"}
	}
	w.holders[0] = holding{context: -1}
	w.steps[0] = step{field: -1, index: -1}
	hash, err := w.message(root, b)
	if err != nil {
		w.report(err)
	} else if typeName == "envoy.config.cluster.v3.Cluster" {
		w.clusterRef(b)
	}
	if err := w.err(); err != nil {
		return 0, err
	}
	if !hashed {
		return 0, nil
	}
	return max(hash, 1), nil
}

// message walks the fields of message mi. It is the inner loop of the walk.
func (w *Walker) message(mi int, b []byte) (uint64, error) {
	m := &shape.Messages[mi]
	if m.Check != 0 {
		if m.Check&shape.Any != 0 {
			return w.any(b)
		}
		w.before(m, b)
	}
	var f frame
	for len(b) > 0 {
		tag, n := uvarint(b)
		if n <= 0 {
			return 0, varintError(n)
		}
		b = b[n:]
		at := fieldAt(m, tag>>3)
		if at < 0 {
			var err error
			if b, err = w.unknownField(&f, tag, b); err != nil {
				return 0, err
			}
			continue
		}
		d := &shape.Fields[at]
		if err := w.enter(&f, d, at); err != nil {
			return 0, err
		}
		var err error
		if tag&7 != wireBytes || d.Kind < shape.Bytes {
			b, err = w.numbers(&f, d, int(tag&7), b)
		} else {
			var val []byte
			if val, n, err = prefixed(b); err == nil {
				b = b[n:]
				err = w.delimited(&f, d, val)
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return w.leave(m, &f), nil
}

// leave ends a message: what must be there is asked for, and the hash is closed.
func (w *Walker) leave(m *shape.Message, f *frame) uint64 {
	if missing := m.Need &^ f.seen[0]; missing != 0 && w.quiet == 0 {
		w.missing(m, missing)
	}
	if m.Check&shape.Holder != 0 {
		w.release(m)
	}
	if !w.hashing {
		return 0
	}
	return w.close(f)
}

// prefixed reads a length and so many bytes; n is the length of both.
func prefixed(b []byte) (val []byte, n int, err error) {
	if len(b) > 0 && b[0] < 0x80 {
		if n = 1 + int(b[0]); n <= len(b) {
			return b[1:n], n, nil
		}
		return nil, 0, errTruncated
	}
	v, n := uvarint(b)
	if n <= 0 {
		return nil, 0, varintError(n)
	}
	if v > uint64(len(b)-n) {
		return nil, 0, errTruncated
	}
	return b[n : n+int(v)], n + int(v), nil
}

// enter notes field d on the path and that it is there.
func (w *Walker) enter(f *frame, d *shape.Field, at int) error {
	st := &w.steps[w.depth]
	if d.Form == shape.Single {
		st.field, st.index = int32(at), -1
		bit := uint64(1) << (d.Slot & 63)
		if f.seen[d.Slot>>6&1]&bit != 0 {
			return errTwice
		}
		f.seen[d.Slot>>6&1] |= bit
		return nil
	}
	if st.field != int32(at) {
		st.field, st.index = int32(at), -1
	}
	st.index++
	if d.Slot != shape.NoSlot {
		f.seen[0] |= 1 << d.Slot
	}
	return nil
}

// numbers walks a scalar, or a packed run of scalars.
func (w *Walker) numbers(f *frame, d *shape.Field, typ int, b []byte) ([]byte, error) {
	if typ == wireTypeOf(d.Kind) {
		return w.scalar(f, d, b)
	}
	if typ != wireBytes || d.Form != shape.List || d.Kind >= shape.Bytes {
		return nil, errWireType
	}
	val, n, err := prefixed(b)
	if err != nil {
		return nil, err
	}
	for len(val) > 0 {
		if val, err = w.scalar(f, d, val); err != nil {
			return nil, err
		}
		w.steps[w.depth].index++
	}
	return b[n:], nil
}

func wireTypeOf(k shape.Kind) int {
	switch k {
	case shape.Varint:
		return wireVarint
	case shape.Fixed32:
		return wireFixed32
	case shape.Fixed64:
		return wireFixed64
	default:
		return wireBytes
	}
}

// scalar walks one number.
func (w *Walker) scalar(f *frame, d *shape.Field, b []byte) ([]byte, error) {
	var v uint64
	switch d.Kind {
	case shape.Fixed32:
		if len(b) < 4 {
			return nil, errTruncated
		}
		v, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
	case shape.Fixed64:
		if len(b) < 8 {
			return nil, errTruncated
		}
		v, b = binary.LittleEndian.Uint64(b), b[8:]
	default:
		x, n := uvarint(b)
		if n <= 0 {
			return nil, varintError(n)
		}
		v, b = x, b[n:]
	}
	if d.Rule != 0 && w.quiet == 0 {
		w.number(&shape.Rules[d.Rule], v)
	}
	if w.hashing {
		w.add(f, d, w.mix(v, 3))
	}
	return b, nil
}

// delimited walks a text, a byte string or a message.
func (w *Walker) delimited(f *frame, d *shape.Field, val []byte) error {
	var hash uint64
	switch d.Kind {
	case shape.Nested:
		if d.Rule != 0 && w.quiet == 0 {
			w.nested(d, val)
		}
		if w.depth >= maxDepth {
			return errTooDeep
		}
		w.depth++
		w.steps[w.depth] = step{field: -1, index: -1}
		w.holders[w.depth] = holding{context: -1}
		var err error
		if w.large && d.Msg == w.memo.of {
			hash, err = w.remembered(d, val)
		} else {
			hash, err = w.message(int(d.Msg), val)
		}
		if err != nil {
			return err // the path stays for the report
		}
		w.depth--
	case shape.Text:
		if !utf8.Valid(val) {
			return errUTF8
		}
		fallthrough
	default:
		if d.Rule != 0 && w.quiet == 0 {
			w.text(&shape.Rules[d.Rule], val)
		}
		if w.hashing {
			hash = maphash.Bytes(w.checker.seed, val)
		}
	}
	if w.hashing {
		w.add(f, d, hash)
	}
	return nil
}

// add takes the hash of one value into that of its message.
func (w *Walker) add(f *frame, d *shape.Field, hash uint64) {
	f.count++
	h := w.mix(hash, uint64(d.Num))
	if d.Form == shape.List {
		f.lists[d.List] = w.mix(f.lists[d.List]+uint64(d.Num), h)
		return
	}
	f.sum += h
}

// unknownField steps over a field that the table does not have; a newer control plane may send one.
func (w *Walker) unknownField(f *frame, tag uint64, b []byte) ([]byte, error) {
	if tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return nil, errTag
	}
	c := Cursor{Num: int(tag >> 3), Type: int(tag & 7)}
	n, err := c.value(b)
	if err != nil {
		return nil, err
	}
	if w.hashing {
		f.count++
		f.unknown = w.mix(f.unknown+tag, maphash.Bytes(w.checker.seed, b[:n]))
	}
	return b[n:], nil
}
