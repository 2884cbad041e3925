package wire

import (
	"hash/maphash"
	"math/bits"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

// Hash returns the hash of bytes under the checker's seed; it is never 0.
func (c *Checker) Hash(b []byte) uint64 { return max(maphash.Bytes(c.seed, b), 1) }

// HashString is Hash for a string.
func (c *Checker) HashString(s string) uint64 { return max(maphash.String(c.seed, s), 1) }

// mix spreads two words over one; it is not commutative.
func (w *Walker) mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^w.salt[0], b^w.salt[1])
	return hi ^ lo ^ w.salt[2]
}

// frame gathers the order-free hash of one message: singular fields and map entries are added, which commutes;
// the elements of a list are chained, so that their order counts.
type frame struct {
	seen  [2]uint64
	sum   uint64
	count uint64
	// unknown chains the fields that the table does not have.
	unknown uint64
	lists   [shape.MaxLists]uint64
}

// hash closes the frame.
func (w *Walker) close(f *frame) uint64 {
	sum := f.sum + f.unknown
	for _, l := range f.lists {
		sum += l
	}
	return w.mix(sum, f.count+1)
}
