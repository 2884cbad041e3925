package proxy

import "github.com/outrigger-mesh/outrigger/proxy/buffer"

// buffers is the buffer of one direction of a relay, which follows the traffic's size:
// an idle direction holds a small one, a busy one grows.
type buffers struct {
	held []byte
	size int
}

// get returns the current buffer.
func (b *buffers) get() []byte {
	if b.held == nil {
		b.size = max(b.size, buffer.Small)
		b.held = buffer.Get(b.size)
	}
	return b.held
}

// grow takes a larger one after a read that filled it.
func (b *buffers) grow(n int) {
	if n < b.size || b.size == buffer.Bulk {
		return
	}
	b.put()
	if b.size *= 4; b.size > buffer.Medium {
		b.size = buffer.Bulk
	}
}

// shrink goes back to a small one when nothing came for a while.
func (b *buffers) shrink(moved int64) {
	if moved > 0 || b.size <= buffer.Small {
		return
	}
	b.put()
	b.size = buffer.Small
}

// put gives the buffer back.
func (b *buffers) put() {
	buffer.Put(b.held)
	b.held = nil
}
