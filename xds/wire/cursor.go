package wire

import (
	"encoding/binary"
	"errors"
)

// The ways in which bytes fail to be a message.
var (
	errTruncated = errors.New("truncated")
	errTag       = errors.New("invalid field tag")
	errVarint    = errors.New("varint overflows 64 bits")
	errWireType  = errors.New("wrong wire type")
	errUTF8      = errors.New("invalid UTF-8")
	errTooDeep   = errors.New("nested too deeply")
	errTwice     = errors.New("given twice")
	errGroup     = errors.New("unbalanced group")
)

// The wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireStart   = 3
	wireEnd     = 4
	wireFixed32 = 5
)

// Cursor steps over the top-level fields of one message without looking into them.
//
//	c := wire.Cursor{Rest: b}
//	for c.Next() { … c.Num, c.Val … }
//	if c.Err != nil { … }
type Cursor struct {
	Rest []byte // what has not been read yet
	Num  int    // number of the current field
	Type int    // its wire type
	Val  []byte // its content where the type is length-delimited
	Bits uint64 // its value where the type is a number
	Raw  []byte // the whole field with its tag
	Err  error
}

// Next reads one field and reports whether there was one.
func (c *Cursor) Next() bool {
	if c.Err != nil || len(c.Rest) == 0 {
		return false
	}
	start := c.Rest
	tag, n := uvarint(start)
	if n <= 0 {
		c.Err = varintError(n)
		return false
	}
	num := tag >> 3
	if num == 0 || num > 1<<29-1 {
		c.Err = errTag
		return false
	}
	c.Num, c.Type, c.Val, c.Bits = int(num), int(tag&7), nil, 0
	m, err := c.value(start[n:])
	if err != nil {
		c.Err = err
		return false
	}
	c.Raw, c.Rest = start[:n+m], start[n+m:]
	return true
}

// value reads the value of the current field and returns its length.
func (c *Cursor) value(b []byte) (int, error) {
	switch c.Type {
	case wireVarint:
		v, n := uvarint(b)
		if n <= 0 {
			return 0, varintError(n)
		}
		c.Bits = v
		return n, nil
	case wireFixed64:
		if len(b) < 8 {
			return 0, errTruncated
		}
		c.Bits = binary.LittleEndian.Uint64(b)
		return 8, nil
	case wireFixed32:
		if len(b) < 4 {
			return 0, errTruncated
		}
		c.Bits = uint64(binary.LittleEndian.Uint32(b))
		return 4, nil
	case wireBytes:
		v, n := uvarint(b)
		if n <= 0 {
			return 0, varintError(n)
		}
		if v > uint64(len(b)-n) {
			return 0, errTruncated
		}
		c.Val = b[n : n+int(v)]
		return n + int(v), nil
	case wireStart:
		return groupLen(b, c.Num, 0)
	}
	return 0, errWireType
}

// groupLen measures an unknown group behind its start tag, its end tag included.
func groupLen(b []byte, num, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errTooDeep
	}
	rest := b
	for len(rest) > 0 {
		tag, n := uvarint(rest)
		if n <= 0 {
			return 0, varintError(n)
		}
		if tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return 0, errTag
		}
		in := Cursor{Num: int(tag >> 3), Type: int(tag & 7)}
		rest = rest[n:]
		var m int
		var err error
		switch in.Type {
		case wireEnd:
			if in.Num != num {
				return 0, errGroup
			}
			return len(b) - len(rest), nil
		case wireStart:
			m, err = groupLen(rest, in.Num, depth+1)
		default:
			m, err = in.value(rest)
		}
		if err != nil {
			return 0, err
		}
		rest = rest[m:]
	}
	return 0, errTruncated
}

// uvarint reads a base-128 number: n is its length, 0 if b ends too soon, below 0 if it needs more than 64 bits.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

func varintError(n int) error {
	if n < 0 {
		return errVarint
	}
	return errTruncated
}
