package xds

import (
	"fmt"

	"google.golang.org/grpc/mem"

	"github.com/outrigger-mesh/outrigger/xds/slab"
)

// mapAt is the size from which a response is kept in a mapping of its own: a large push then leaves no mark on the
// Go heap.
const mapAt = 64 << 10

// frame is one received message.
type frame struct {
	body   []byte
	mapped bool
}

// release gives the memory back; the body must not be used any more.
func (f *frame) release() {
	if f.mapped {
		_ = slab.Unmap(f.body) // it is exactly what Map returned
	}
	*f = frame{}
}

// codec hands messages through as bytes, so that nothing is decoded that nobody asks for.
type codec struct{}

// Marshal takes an encoded message.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal copies a message into a frame.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("cannot receive into a %T", v)
	}
	f.release()
	n := data.Len()
	if n < mapAt {
		f.body = data.Materialize()
		return nil
	}
	body, err := slab.Map(n)
	if err != nil {
		return err
	}
	f.body, f.mapped = body, true
	data.CopyTo(f.body)
	return nil
}

// Name is that of the real encoding: the bytes on the wire are the same.
func (codec) Name() string { return "proto" }
