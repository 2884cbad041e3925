package accesslog

import (
	"slices"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// escapeText makes control bytes of dst[mark:] visible, so that a header cannot
// forge a second line or drive a terminal. Everything else stays as Envoy prints
// it.
func escapeText(dst []byte, mark int) []byte {
	extra := 0
	for _, c := range dst[mark:] {
		extra += textWidth(c) - 1
	}
	if extra == 0 {
		return dst
	}
	return expand(dst, mark, extra, textWidth, putText)
}

func textWidth(c byte) int {
	switch {
	case c == '\n' || c == '\r' || c == '\t':
		return 2
	case c < 0x20 || c == 0x7f:
		return 4
	default:
		return 1
	}
}

func putText(to []byte, c byte) {
	switch c {
	case '\n':
		copy(to, `\n`)
	case '\r':
		copy(to, `\r`)
	case '\t':
		copy(to, `\t`)
	default:
		copy(to, `\x`)
		to[2], to[3] = hexDigits[c>>4], hexDigits[c&15]
	}
}

// escapeJSON makes dst[mark:] the inside of a JSON string.
func escapeJSON(dst []byte, mark int) []byte {
	extra, ascii := 0, true
	for _, c := range dst[mark:] {
		extra += jsonWidth(c) - 1
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && !utf8.Valid(dst[mark:]) {
		return expand(dst, mark, extra+5*highBytes(dst[mark:]), jsonWidthInvalid, putJSON)
	}
	if extra == 0 {
		return dst
	}
	return expand(dst, mark, extra, jsonWidth, putJSON)
}

func highBytes(s []byte) int {
	n := 0
	for _, c := range s {
		if c >= utf8.RuneSelf {
			n++
		}
	}
	return n
}

func jsonWidth(c byte) int {
	switch {
	case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
		return 2
	case c < 0x20 || c == 0x7f:
		return 6
	default:
		return 1
	}
}

// jsonWidthInvalid serves strings that are not UTF-8: their high bytes are written
// as the code points of the same number, which keeps them legible and distinct.
func jsonWidthInvalid(c byte) int {
	if c >= utf8.RuneSelf {
		return 6
	}
	return jsonWidth(c)
}

func putJSON(to []byte, c byte) {
	switch c {
	case '"', '\\':
		to[0], to[1] = '\\', c
	case '\n', '\r', '\t':
		putText(to, c)
	default:
		copy(to, `\u00`)
		to[4], to[5] = hexDigits[c>>4], hexDigits[c&15]
	}
}

// expand rewrites dst[mark:] from its end backwards, so that no second buffer is
// needed: width says how many bytes a byte becomes, put writes those that change.
func expand(dst []byte, mark, extra int, width func(byte) int, put func([]byte, byte)) []byte {
	from := len(dst)
	dst = slices.Grow(dst, extra)[:from+extra]
	to := len(dst)
	for from > mark {
		from--
		c := dst[from]
		w := width(c)
		to -= w
		if w == 1 {
			dst[to] = c
			continue
		}
		put(dst[to:to+w], c)
	}
	return dst
}
