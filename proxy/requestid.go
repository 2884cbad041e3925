package proxy

import (
	"math/rand/v2"
	"unsafe"
)

const requestIDLen = 36

// newRequestID makes a random UUID (RFC 9562 version 4) in the exchange's own
// memory: it lives as long as the request's other strings. The fourteenth
// character, the version, is where Envoy packs its reason to trace; "4" is none.
func (x *Exchange) newRequestID() string {
	const hex = "0123456789abcdef"
	hi, lo := rand.Uint64(), rand.Uint64() //nolint:gosec // an identifier, not a secret
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 1<<63
	b := &x.id
	at := 0
	for i := range 16 {
		var octet byte
		if i < 8 {
			octet = byte(hi >> (56 - 8*i)) //nolint:gosec // one octet
		} else {
			octet = byte(lo >> (120 - 8*i)) //nolint:gosec // one octet
		}
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b[at] = '-'
			at++
		}
		b[at], b[at+1] = hex[octet>>4], hex[octet&15]
		at += 2
	}
	return unsafe.String(&b[0], len(b)) //nolint:gosec // x outlives the strings of its request
}
