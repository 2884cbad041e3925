package slab

import (
	_ "embed" // the dictionary
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
)

//go:generate go run ./gen dict.bin

//go:embed dict.bin
var dictionary []byte

// Packer compresses single records. It may be used by many goroutines.
type Packer struct {
	dict *s2.Dict
}

// NewPacker reads the embedded dictionary.
func NewPacker() (*Packer, error) {
	d := s2.NewDict(dictionary)
	if d == nil {
		return nil, errors.New("embedded dictionary is damaged")
	}
	return &Packer{dict: d}, nil
}

// Pack compresses src into buf's memory, or into a larger buffer.
func (p *Packer) Pack(buf, src []byte) []byte {
	if n := s2.MaxEncodedLen(len(src)); cap(buf) < n {
		buf = make([]byte, 0, n)
	}
	return p.dict.Encode(buf[:cap(buf)], src)
}

// Unpack appends to dst what Pack compressed; size is the length before compression.
func (p *Packer) Unpack(dst, packed []byte, size int) ([]byte, error) {
	n := len(dst)
	if cap(dst)-n < size {
		grown := make([]byte, n, n+size)
		copy(grown, dst)
		dst = grown
	}
	out, err := p.dict.Decode(dst[n:n+size:n+size], packed)
	if err != nil {
		return dst[:n], fmt.Errorf("unpack: %w", err)
	}
	if len(out) != size {
		return dst[:n], errors.New("unpack: wrong size")
	}
	return dst[:n+size], nil
}
