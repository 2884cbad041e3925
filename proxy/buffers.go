package proxy

import "sync"

// The buffers of a relay: an idle direction holds a small one, a busy one grows.
const (
	smallBuffer = 4 << 10
	midBuffer   = 16 << 10  // one TLS record
	largeBuffer = 256 << 10 // fewer wake-ups of the next in line
)

var (
	smallBuffers = newBufferPool(smallBuffer) //nolint:gochecknoglobals // a pool of free buffers
	midBuffers   = newBufferPool(midBuffer)   //nolint:gochecknoglobals // as above
	largeBuffers = newBufferPool(largeBuffer) //nolint:gochecknoglobals // as above
)

func newBufferPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}
}

func poolOf(size int) *sync.Pool {
	switch size {
	case smallBuffer:
		return smallBuffers
	case midBuffer:
		return midBuffers
	default:
		return largeBuffers
	}
}

func getBuffer(size int) *[]byte {
	return poolOf(size).Get().(*[]byte) //nolint:forcetypeassert // the pools hold nothing else
}

func putBuffer(b *[]byte) { poolOf(len(*b)).Put(b) }

// buffers is the buffer of one direction, which follows the traffic's size.
type buffers struct {
	held *[]byte
	size int
}

// get returns the current buffer.
func (b *buffers) get() []byte {
	if b.held == nil {
		b.size = max(b.size, smallBuffer)
		b.held = getBuffer(b.size)
	}
	return *b.held
}

// grow takes a larger one after a read that filled it.
func (b *buffers) grow(n int) {
	if n < b.size || b.size == largeBuffer {
		return
	}
	b.put()
	b.size *= 4
}

// shrink goes back to a small one when nothing came for a while.
func (b *buffers) shrink(moved int64) {
	if moved > 0 || b.size <= smallBuffer {
		return
	}
	b.put()
	b.size = smallBuffer
}

// put gives the buffer back.
func (b *buffers) put() {
	if b.held != nil {
		putBuffer(b.held)
		b.held = nil
	}
}
