package http1

import "sync"

// The sizes of pooled buffers: a head, a head with its body or a copy, a bulk copy
// or the largest head.
const (
	smallBuffer  = 4 << 10
	mediumBuffer = 16 << 10
	largeBuffer  = 64 << 10
)

// The pools are shared by all connections, so that memory follows the number of
// active exchanges and not that of connections.
//

var (
	smallPool  = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	mediumPool = sync.Pool{New: func() any { return new([mediumBuffer]byte) }}
	largePool  = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
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
	spoil(b)
	switch cap(b) {
	case smallBuffer:
		smallPool.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case mediumBuffer:
		mediumPool.Put((*[mediumBuffer]byte)(b[:mediumBuffer]))
	case largeBuffer:
		largePool.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}
