package conformance_test

import (
	"bytes"
	"strings"

	"golang.org/x/net/http2"
)

// attack is what a hostile downstream does with one connection.
type attack struct {
	name string

	// ends says that Envoy 1.40 ends the connection under its default limits, which
	// it mostly does without a word; then the sidecar has to end it too. If it gives a
	// reason, that is code, or ENHANCE_YOUR_CALM.
	ends bool
	code string

	load bool // good requests for the most part, which the application answers
	tls  bool // worth a second run over mutual TLS
	deaf bool // reads nothing until it has written everything
	run  func(p *peer) error
}

// batch is how much an attacker writes at once.
const batch = 32 << 10

// many is how often an attack repeats its frame on one connection.
const many = 50_000

// repeat calls f for the streams 1, 3, 5 … and writes what it appends.
func repeat(p *peer, n int, f func(stream uint32)) error {
	for i := range n {
		f(uint32(2*i + 1))
		if err := p.flushBeyond(batch); err != nil {
			return err
		}
	}
	return p.flush()
}

// attacks are the floods of a hostile downstream.
func attacks() []attack {
	return []attack{
		{name: "rapid reset", tls: true, ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 10_000, func(stream uint32) {
				p.get(stream, "/")
				p.number(http2.FrameRSTStream, stream, uint32(http2.ErrCodeCancel))
			})
		}},
		{name: "rapid reset of requests with bodies", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 10_000, func(stream uint32) {
				p.post(stream, "/")
				p.number(http2.FrameRSTStream, stream, uint32(http2.ErrCodeCancel))
			})
		}},
		{name: "resets provoked by empty window updates", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 10_000, func(stream uint32) {
				p.post(stream, "/")
				p.number(http2.FrameWindowUpdate, stream, 0)
			})
		}},
		{name: "resets provoked by malformed requests, not read", ends: true, deaf: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 10_000, func(stream uint32) {
				p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, stream, p.fields(":method", "GET", ":path", "/", "Upper", "case"))
			})
		}},
		{name: "CONTINUATION without end", ends: true, run: func(p *peer) error {
			p.preface()
			p.frame(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, p.head("GET", "/"))
			junk := literal("x-junk", strings.Repeat("j", 8<<10))
			return repeat(p, 5_000, func(uint32) { p.frame(http2.FrameContinuation, 0, 1, junk) })
		}},
		{name: "empty CONTINUATION without end", ends: true, run: func(p *peer) error {
			p.preface()
			p.frame(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, p.head("GET", "/"))
			return repeat(p, many, func(uint32) { p.frame(http2.FrameContinuation, 0, 1, nil) })
		}},
		{name: "SETTINGS", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, many, func(uint32) { p.settings() })
		}},
		{name: "SETTINGS, acknowledgements not read", ends: true, deaf: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 40*many, func(uint32) { p.settings() })
		}},
		{name: "SETTINGS that change the header table", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, many, func(stream uint32) {
				p.settings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: stream % 8192}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: stream})
			})
		}},
		{name: "PING", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, many, func(uint32) { p.frame(http2.FramePing, 0, 0, make([]byte, 8)) })
		}},
		{name: "PING, answers not read", tls: true, ends: true, deaf: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 40*many, func(uint32) { p.frame(http2.FramePing, 0, 0, make([]byte, 8)) })
		}},
		{name: "empty DATA", ends: true, run: func(p *peer) error {
			p.preface()
			p.post(1, "/")
			return repeat(p, many, func(uint32) { p.frame(http2.FrameData, 0, 1, nil) })
		}},
		{name: "padding alone in DATA", ends: true, run: func(p *peer) error {
			p.preface()
			p.post(1, "/")
			return repeat(p, 200, func(uint32) {
				p.frame(http2.FrameData, http2.FlagDataPadded, 1, append([]byte{255}, make([]byte, 255)...))
			})
		}},
		{name: "empty HEADERS", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, many, func(stream uint32) { p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, nil) })
		}},
		{name: "WINDOW_UPDATE of the connection", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, many, func(uint32) { p.number(http2.FrameWindowUpdate, 0, 1) })
		}},
		{name: "WINDOW_UPDATE of a stream", ends: true, run: func(p *peer) error {
			p.preface()
			p.post(1, "/")
			return repeat(p, many, func(uint32) { p.number(http2.FrameWindowUpdate, 1, 1) })
		}},
		{name: "unknown frames", run: func(p *peer) error {
			p.preface()
			return repeat(p, many, func(uint32) { p.frame(0xfa, 0, 0, make([]byte, 8)) })
		}},
		{name: "PRIORITY", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, many, func(stream uint32) { p.frame(http2.FramePriority, 0, stream, []byte{0, 0, 0, 0, 7}) })
		}},
		{name: "header bomb: a long field named over and over", tls: true, run: func(p *peer) error {
			p.preface()
			bomb := literalIndexed("x-bomb", strings.Repeat("b", 4000))
			p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, append(p.head("GET", "/"), bomb...))
			again := bytes.Repeat([]byte{0x80 | 62}, 15_000) // the newest of the dynamic table
			return repeat(p, 200, func(stream uint32) {
				p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, stream+2, append(plainHead(), again...))
			})
		}},
		{name: "header bomb: tiny cookies", run: func(p *peer) error {
			p.preface()
			crumb := bytes.Repeat([]byte{0x80 | 32}, 16_000) // cookie with an empty value, of the static table
			return repeat(p, 200, func(stream uint32) {
				p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, stream, append(plainHead(), crumb...))
			})
		}},
		{name: "fields without names", ends: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 2_000, func(stream uint32) {
				p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, stream, append(plainHead(), bytes.Repeat([]byte{0, 0, 0}, 2_000)...))
			})
		}},
		{name: "10,000 tiny streams at once, whatever the limit", load: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 10_000, func(stream uint32) { p.get(stream, "/?size=1") })
		}},
		{name: "10,000 tiny streams at once, not read", load: true, deaf: true, run: func(p *peer) error {
			p.preface()
			return repeat(p, 10_000, func(stream uint32) { p.get(stream, "/?size=1") })
		}},
		{name: "huge responses, not read", load: true, tls: true, deaf: true, run: func(p *peer) error {
			p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
			p.number(http2.FrameWindowUpdate, 0, 1<<31-1-65535)
			return repeat(p, 90, func(stream uint32) { p.get(stream, "/?size=100000000") })
		}},
		{name: "huge responses, no window", load: true, run: func(p *peer) error {
			p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			return repeat(p, 90, func(stream uint32) { p.get(stream, "/?size=100000000") })
		}},
		{name: "huge responses, a byte at a time", load: true, run: func(p *peer) error {
			p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
			err := repeat(p, 50, func(stream uint32) { p.get(stream, "/?size=100000000") })
			for range 1000 {
				if err == nil {
					err = repeat(p, 50, func(stream uint32) { p.number(http2.FrameWindowUpdate, stream, 1) })
				}
			}
			return err
		}},
		{name: "window opened and shut", load: true, ends: true, run: func(p *peer) error {
			p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			if err := repeat(p, 50, func(stream uint32) { p.get(stream, "/?size=100000000") }); err != nil {
				return err
			}
			return repeat(p, 2_000, func(stream uint32) {
				p.settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: stream / 2 % 2})
			})
		}},
	}
}

// plainHead is the head of a GET without any use of the dynamic table.
func plainHead() []byte {
	b := []byte{0x80 | 2, 0x80 | 6, 0x80 | 4} // GET, http, /
	return append(b, literalName(1, "server")...)
}

// literal returns a field that enters no table, without Huffman code.
func literal(name, value string) []byte {
	b := append([]byte{0}, byte(len(name)))
	b = append(b, name...)
	return appendString(b, value)
}

// literalIndexed returns a field that enters the dynamic table.
func literalIndexed(name, value string) []byte {
	b := literal(name, value)
	b[0] = 0x40
	return b
}

// literalName returns a field whose name is in the static table.
func literalName(index byte, value string) []byte { return appendString([]byte{index}, value) }

// appendString appends a string of any length without Huffman code.
func appendString(b []byte, s string) []byte {
	n := len(s)
	if n < 127 {
		return append(append(b, byte(n)), s...)
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(append(b, byte(n)), s...)
}
