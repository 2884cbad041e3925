package conformance_test

import (
	"bytes"
	"strings"

	"golang.org/x/net/http2"
)

// trap is what a hostile upstream does with the first request of a connection.
type trap struct {
	name string

	// ends and code are as in attack.
	ends bool
	code string

	settings []http2.Setting
	deaf     bool // reads nothing until it has written everything
	upload   bool // the request has a large body
	unread   bool // whoever asked does not read the response
	run      func(p *peer, stream uint32) error
}

// ok appends the head of a response whose body follows.
func (p *peer) ok(stream uint32, more ...string) {
	p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, p.fields(append([]string{":status", "200"}, more...)...))
}

// traps are the floods of a hostile upstream.
func traps() []trap {
	again := func(n int, f func(p *peer, stream uint32)) func(*peer, uint32) error {
		return func(p *peer, stream uint32) error {
			return repeat(p, n, func(uint32) { f(p, stream) })
		}
	}
	after := func(first func(p *peer, stream uint32), n int, f func(p *peer, stream uint32)) func(*peer, uint32) error {
		return func(p *peer, stream uint32) error {
			first(p, stream)
			return again(n, f)(p, stream)
		}
	}
	head := func(p *peer, stream uint32) { p.ok(stream) }
	return []trap{
		{name: "PING", ends: true, deaf: true, run: again(40*many, func(p *peer, _ uint32) { p.frame(http2.FramePing, 0, 0, make([]byte, 8)) })},
		{name: "SETTINGS", ends: true, deaf: true, run: again(40*many, func(p *peer, _ uint32) { p.settings() })},
		{name: "CONTINUATION without end", ends: true, run: after(
			func(p *peer, stream uint32) { p.frame(http2.FrameHeaders, 0, stream, p.fields(":status", "200")) },
			5_000, func(p *peer, stream uint32) {
				p.frame(http2.FrameContinuation, 0, stream, literal("x-junk", strings.Repeat("j", 8<<10)))
			})},
		{name: "empty CONTINUATION without end", ends: true, run: after(
			func(p *peer, stream uint32) { p.frame(http2.FrameHeaders, 0, stream, p.fields(":status", "200")) },
			many, func(p *peer, stream uint32) { p.frame(http2.FrameContinuation, 0, stream, nil) })},
		{name: "empty DATA", ends: true, run: after(head, many, func(p *peer, stream uint32) { p.frame(http2.FrameData, 0, stream, nil) })},
		{name: "WINDOW_UPDATE of the connection", ends: true, run: again(many, func(p *peer, _ uint32) { p.number(http2.FrameWindowUpdate, 0, 1) })},
		{name: "PRIORITY", ends: true, run: again(many, func(p *peer, stream uint32) { p.frame(http2.FramePriority, 0, stream, []byte{0, 0, 0, 0, 7}) })},
		{name: "unknown frames", run: again(many, func(p *peer, _ uint32) { p.frame(0xfa, 0, 0, make([]byte, 8)) })},
		{name: "header bomb", run: func(p *peer, stream uint32) error {
			bomb := append(p.fields(":status", "200"), literalIndexed("x-bomb", strings.Repeat("b", 4000))...)
			p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, append(bomb, bytes.Repeat([]byte{0x80 | 62}, 12_000)...))
			return p.flush()
		}},
		{name: "trailer bomb", run: func(p *peer, stream uint32) error {
			p.ok(stream)
			bomb := literalIndexed("x-bomb", strings.Repeat("b", 4000))
			p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, stream, append(bomb, bytes.Repeat([]byte{0x80 | 62}, 12_000)...))
			return p.flush()
		}},
		{name: "103 without end", run: again(many, func(p *peer, stream uint32) {
			p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, p.fields(":status", "103", "link", "</x>"))
		})},
		{name: "RST_STREAM at once", run: func(p *peer, stream uint32) error {
			p.number(http2.FrameRSTStream, stream, uint32(http2.ErrCodeCancel))
			return p.flush()
		}},
		{name: "RST_STREAM over and over", run: again(many, func(p *peer, stream uint32) { p.number(http2.FrameRSTStream, stream, uint32(http2.ErrCodeCancel)) })},
		{name: "GOAWAY over and over", ends: true, run: again(many, func(p *peer, _ uint32) { p.frame(http2.FrameGoAway, 0, 0, make([]byte, 8)) })},
		{name: "PUSH_PROMISE", ends: true, code: "PROTOCOL_ERROR", run: again(100, func(p *peer, stream uint32) {
			p.frame(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, stream, append([]byte{0, 0, 0, 2}, p.head("GET", "/pushed")...))
		})},
		{name: "streams nobody opened", ends: true, code: "PROTOCOL_ERROR", run: func(p *peer, _ uint32) error {
			return repeat(p, 1000, func(stream uint32) { p.ok(stream + 1001) })
		}},
		{name: "DATA beyond the window", code: "FLOW_CONTROL_ERROR", unread: true, run: after(head, 8_000, func(p *peer, stream uint32) { p.frame(http2.FrameData, 0, stream, make([]byte, 16<<10)) })},
		{name: "no window for an upload", upload: true, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, run: func(*peer, uint32) error { return nil }},
		{name: "a byte of window at a time for an upload", ends: true, upload: true, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1}}, run: again(many, func(p *peer, stream uint32) { p.number(http2.FrameWindowUpdate, stream, 1) })},
		{name: "window opened and shut", ends: true, upload: true, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, run: func(p *peer, _ uint32) error {
			return repeat(p, 2_000, func(stream uint32) {
				p.settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: stream / 2 % 2})
			})
		}},
	}
}
