package http1

import "math/bits"

// Words of eight equal bytes, for looking at eight characters at once.
const (
	each01 = 0x0101010101010101
	each20 = 0x2020202020202020
	each21 = 0x2121212121212121
	each7f = 0x7f7f7f7f7f7f7f7f
	each80 = 0x8080808080808080
)

// lowerToken maps each character of an RFC 9110 token to its lower case, all
// others to zero.
var lowerToken = func() (t [256]byte) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = byte(c)
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = byte(c) | 0x20
	}
	return t
}()

// authorityChar holds the characters that Envoy admits in an authority.
var authorityChar = func() (t [256]bool) {
	for _, c := range "-._~%!$&'()[]*+,;=:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()

// scanValue returns the index of the first byte from i on that may not stand in a
// field value: a control character other than TAB. It is len(b) if there is none.
func scanValue[T string | []byte](b T, i int) int {
	for len(b)-i >= 8 {
		x := load64(b, i)
		y := x ^ each7f
		// The lowest marked byte is exact: a borrow only spreads upwards.
		m := ((x-each20)&^x | (y-each01)&^y) & each80
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	if rest := len(b) - i; rest > 0 && len(b) >= 8 {
		// The last eight bytes, of which the first were looked at before.
		x := load64(b, len(b)-8)
		y := x ^ each7f
		if m := ((x-each20)&^x | (y-each01)&^y) & each80; m>>(64-8*rest) == 0 {
			return len(b)
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return i
}

// scanTarget returns the index of the first byte from i on that is not visible
// ASCII, or len(b).
func scanTarget[T string | []byte](b T, i int) int {
	for len(b)-i >= 8 {
		x := load64(b, i)
		y := x ^ each7f
		m := ((x-each21)&^x | (y-each01)&^y | x) & each80
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for ; i < len(b); i++ {
		if c := b[i]; c <= ' ' || c >= 0x7f {
			return i
		}
	}
	return i
}

func load64[T string | []byte](b T, i int) uint64 {
	s := b[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func validAuthority(s string) bool {
	for i := range len(s) {
		if !authorityChar[s[i]] {
			return false
		}
	}
	return true
}

// equalFold compares s with a lower-case ASCII word.
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// nextToken cuts the first element off a comma-separated list.
func nextToken(list string) (token, rest string) {
	end := len(list)
	rest = ""
	for i := range len(list) {
		if list[i] == ',' {
			end, rest = i, list[i+1:]
			break
		}
	}
	return trim(list[:end]), rest
}

func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
