package http2

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/proxy/buffer"
)

var (
	chunkPool = sync.Pool{New: func() any { return new(chunk) }}
	slabPool  = sync.Pool{New: func() any { return new(slab) }}
)

// slab is a large buffer of a reader, of which others may hold parts. It goes back
// when the last of them has let go.
type slab struct {
	b    []byte
	refs atomic.Int32
}

func newSlab() *slab {
	k := slabPool.Get().(*slab) //nolint:forcetypeassert // the pool holds nothing else
	k.b = buffer.Get(buffer.Large)
	k.refs.Store(1)
	return k
}

// lent reports whether somebody besides the reader holds a part.
func (k *slab) lent() bool { return k != nil && k.refs.Load() > 1 }

func (k *slab) drop() {
	if k.refs.Add(-1) > 0 {
		return
	}
	buffer.Put(k.b)
	k.b = nil
	slabPool.Put(k)
}

// chunk is a piece of content that waits to be read: b[r:w].
type chunk struct {
	next *chunk
	b    []byte
	of   *slab // which b is a part of; nil where b is the chunk's own
	r, w int
}

// newChunk copies p, and leaves room for more where p is small.
func newChunk(p []byte) *chunk {
	k := chunkPool.Get().(*chunk) //nolint:forcetypeassert // the pool holds nothing else
	k.b = buffer.Get(len(p))
	k.r, k.w = 0, copy(k.b, p)
	return k
}

// lend makes a chunk of p, a part of the slab, without a copy.
func (k *slab) lend(p []byte) *chunk {
	k.refs.Add(1)
	n := chunkPool.Get().(*chunk) //nolint:forcetypeassert // the pool holds nothing else
	n.b, n.of = slices.Clip(p), k
	n.r, n.w = 0, len(p)
	return n
}

// Bytes is what of the chunk was not read.
func (k *chunk) Bytes() []byte { return k.b[k.r:k.w] }

// Free gives the chunk's memory back.
func (k *chunk) Free() { k.free() }

func (k *chunk) free() {
	if k.of != nil {
		k.of.drop()
	} else {
		buffer.Put(k.b)
	}
	k.b, k.of, k.next = nil, nil, nil
	chunkPool.Put(k)
}
