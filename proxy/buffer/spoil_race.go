//go:build race

package buffer

// spoil overwrites a buffer that is given back: strings that still point to it read
// what nobody sent.
func spoil(b []byte) {
	b = b[:cap(b)]
	for n := copy(b, "\xdb"); n > 0 && n < len(b); {
		n += copy(b[n:], b[:n]) // the detector looks at every copy, not at every byte
	}
}
