package http2

import "sync"

// The sizes of pooled buffers: a small message, a frame, many frames.
const (
	smallBuffer  = 2 << 10
	mediumBuffer = 16 << 10
	largeBuffer  = 64 << 10
)

// The pools are shared by all connections, so that memory follows the number of
// active streams and not that of connections.
//

var (
	smallPool  = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	mediumPool = sync.Pool{New: func() any { return new([mediumBuffer]byte) }}
	largePool  = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	chunkPool  = sync.Pool{New: func() any { return new(chunk) }}
)

// getBuffer returns a buffer of at least size bytes, at its full length.
func getBuffer(size int) []byte {
	switch {
	case size <= smallBuffer:
		return smallPool.Get().(*[smallBuffer]byte)[:]
	case size <= mediumBuffer:
		return mediumPool.Get().(*[mediumBuffer]byte)[:]
	case size <= largeBuffer:
		return largePool.Get().(*[largeBuffer]byte)[:]
	default:
		return make([]byte, size)
	}
}

// putBuffer takes back what getBuffer returned, at whatever length.
func putBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallPool.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case mediumBuffer:
		mediumPool.Put((*[mediumBuffer]byte)(b[:mediumBuffer]))
	case largeBuffer:
		largePool.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}

// chunk is a piece of content that waits to be read: b[r:w].
type chunk struct {
	next *chunk
	b    []byte
	r, w int
}

// newChunk copies p, and leaves room for more where p is small.
func newChunk(p []byte) *chunk {
	k := chunkPool.Get().(*chunk) //nolint:forcetypeassert // the pool holds nothing else
	k.b = getBuffer(len(p))
	k.r, k.w = 0, copy(k.b, p)
	return k
}

func (k *chunk) free() {
	putBuffer(k.b)
	k.b, k.next = nil, nil
	chunkPool.Put(k)
}
