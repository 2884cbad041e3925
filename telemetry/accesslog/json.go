package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/outrigger-mesh/outrigger/flow"
)

// Field is a member of a JSON format; members are written in the order given.
type Field struct {
	Key   string
	Value Value
}

// Value is what a member of a JSON format holds: a format string, []Field, []Value,
// a float64, a bool, or nil. A string that is one operator and nothing else keeps
// the operator's type: a number stays a number and an absent value becomes null.
type Value any

// maxDepth bounds how deep a JSON format nests.
const maxDepth = 16

// jsonFunc appends a value; false means null.
type jsonFunc func(dst []byte, r *flow.Record) ([]byte, bool)

// ParseJSON compiles a JSON format; each line ends in a line feed. With omitEmpty,
// members that would be null are left out.
func ParseJSON(fields []Field, env Environment, omitEmpty bool) (*Format, error) {
	c := compiler{env: env, omitEmpty: omitEmpty}
	object, err := c.object(fields, 0)
	if err != nil {
		return nil, err
	}
	write := func(dst []byte, r *flow.Record) []byte {
		dst, _ = object(dst, r)
		return append(dst, '\n')
	}
	return &Format{write: write, unanswered: c.unanswered}, nil
}

type member struct {
	key   string // with quotes and colon
	value jsonFunc
}

func (c *compiler) object(fields []Field, depth int) (jsonFunc, error) {
	if depth > maxDepth {
		return nil, errors.New("the JSON format nests too deep")
	}
	members := make([]member, len(fields))
	for i, f := range fields {
		value, err := c.value(f.Value, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Key, err)
		}
		key := escapeJSON([]byte(f.Key), 0)
		members[i] = member{key: `"` + string(key) + `":`, value: value}
	}
	omit := c.omitEmpty
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		dst = append(dst, '{')
		first := true
		for i := range members {
			mark := len(dst)
			if !first {
				dst = append(dst, ',')
			}
			dst = append(dst, members[i].key...)
			var ok bool
			dst, ok = appendJSON(dst, members[i].value, r)
			if !ok && omit {
				dst = dst[:mark]
				continue
			}
			first = false
		}
		return append(dst, '}'), true
	}, nil
}

// appendJSON appends a value or null.
func appendJSON(dst []byte, value jsonFunc, r *flow.Record) ([]byte, bool) {
	mark := len(dst)
	dst, ok := value(dst, r)
	if !ok {
		dst = append(dst[:mark], "null"...)
	}
	return dst, ok
}

func (c *compiler) list(values []Value, depth int) (jsonFunc, error) {
	if depth > maxDepth {
		return nil, errors.New("the JSON format nests too deep")
	}
	items := make([]jsonFunc, len(values))
	for i, v := range values {
		var err error
		if items[i], err = c.value(v, depth+1); err != nil {
			return nil, err
		}
	}
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		dst = append(dst, '[')
		for i, item := range items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst, _ = appendJSON(dst, item, r)
		}
		return append(dst, ']'), true
	}, nil
}

func (c *compiler) value(v Value, depth int) (jsonFunc, error) {
	switch v := v.(type) {
	case string:
		return c.text(v)
	case []Field:
		return c.object(v, depth)
	case []Value:
		return c.list(v, depth)
	case nil:
		return func(dst []byte, _ *flow.Record) ([]byte, bool) { return dst, false }, nil
	case float64, bool:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("number in a JSON format: %w", err)
		}
		return func(dst []byte, _ *flow.Record) ([]byte, bool) { return append(dst, text...), true }, nil
	default:
		return nil, fmt.Errorf("a value of type %T cannot stand in a JSON format", v)
	}
}

// text compiles a format string inside JSON.
func (c *compiler) text(format string) (jsonFunc, error) {
	parts, err := c.parts(format)
	if err != nil {
		return nil, err
	}
	if len(parts) == 1 && parts[0].value != nil {
		return parts[0].json, nil
	}
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		dst = append(dst, '"')
		mark := len(dst)
		for i := range parts {
			dst = parts[i].unescaped(dst, r)
		}
		return append(escapeJSON(dst, mark), '"'), true
	}, nil
}

// json appends the part as a JSON value of its own type.
func (p *part) json(dst []byte, r *flow.Record) ([]byte, bool) {
	if p.shape == number {
		return p.raw(dst, r)
	}
	dst = append(dst, '"')
	mark := len(dst)
	dst, ok := p.raw(dst, r)
	if !ok {
		return dst, false
	}
	if p.shape == foreign {
		dst = escapeJSON(dst, mark)
	}
	return append(dst, '"'), true
}

// unescaped appends the part as it stands, for a string that is escaped as a whole.
func (p *part) unescaped(dst []byte, r *flow.Record) []byte {
	if p.value == nil {
		return append(dst, p.literal...)
	}
	mark := len(dst)
	dst, ok := p.raw(dst, r)
	if !ok {
		return append(dst[:mark], p.absent...)
	}
	return dst
}
