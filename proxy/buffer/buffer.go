// Package buffer lends memory to who moves bytes: codecs, relays, bodies that are kept.
//
// Its pools are shared by all connections, so that memory follows the number of active
// exchanges and not that of connections. A buffer belongs to who got it until it is put
// back; nothing may point into it then, and a build with the race detector overwrites
// it to show whether something does.
//
// It must not know what the bytes mean.
package buffer

import "sync"

// The sizes of pooled buffers.
const (
	Tiny   = 2 << 10   // a small message
	Small  = 4 << 10   // a head
	Medium = 16 << 10  // a head with its body, a frame of HTTP/2, a record of TLS
	Large  = 64 << 10  // many frames, the largest head
	Bulk   = 256 << 10 // a relay that carries much: fewer wake-ups of the next in line
)

var (
	tinyPool   = sync.Pool{New: func() any { return new([Tiny]byte) }}
	smallPool  = sync.Pool{New: func() any { return new([Small]byte) }}
	mediumPool = sync.Pool{New: func() any { return new([Medium]byte) }}
	largePool  = sync.Pool{New: func() any { return new([Large]byte) }}
	bulkPool   = sync.Pool{New: func() any { return new([Bulk]byte) }}
)

// Get returns a buffer of at least size bytes, at its full length.
func Get(size int) []byte {
	switch {
	case size <= Tiny:
		return tinyPool.Get().(*[Tiny]byte)[:]
	case size <= Small:
		return smallPool.Get().(*[Small]byte)[:]
	case size <= Medium:
		return mediumPool.Get().(*[Medium]byte)[:]
	case size <= Large:
		return largePool.Get().(*[Large]byte)[:]
	case size <= Bulk:
		return bulkPool.Get().(*[Bulk]byte)[:]
	default:
		return make([]byte, size)
	}
}

// Put takes back what Get returned, at whatever length. It ignores nil.
func Put(b []byte) {
	spoil(b)
	switch cap(b) {
	case Tiny:
		tinyPool.Put((*[Tiny]byte)(b[:Tiny]))
	case Small:
		smallPool.Put((*[Small]byte)(b[:Small]))
	case Medium:
		mediumPool.Put((*[Medium]byte)(b[:Medium]))
	case Large:
		largePool.Put((*[Large]byte)(b[:Large]))
	case Bulk:
		bulkPool.Put((*[Bulk]byte)(b[:Bulk]))
	}
}
