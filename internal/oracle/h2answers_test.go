//go:build oracle

package oracle_test

import (
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
)

// framed is an answer of frames.
func framed(f func(id uint32) []string) []answer {
	return []answer{{frames: f}, {parts: []string{hello}}}
}

// responses2 are responses over HTTP/2, seen over both protocols, and those over HTTP/1 seen
// over HTTP/2.
func (l *list) responses2() {
	for name, f := range map[string]func(id uint32) []string{
		"usual": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "x-a: b"), content(id, true, "ok")}
		},
		"head alone": func(id uint32) []string { return []string{headers(id, true, ":status: 200")} },
		"with length": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "content-length: 2"), content(id, true, "ok")}
		},
		"longer than its length": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "content-length: 2"), content(id, true, "okay")}
		},
		"shorter than its length": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "content-length: 9"), content(id, true, "ok")}
		},
		"head shorter than length": func(id uint32) []string { return []string{headers(id, true, ":status: 200", "content-length: 9")} },
		"two lengths": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "content-length: 2", "content-length: 3"), content(id, true, "ok")}
		},
		"bad length": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "content-length: x"), content(id, true, "ok")}
		},
		"without status":       func(id uint32) []string { return []string{headers(id, true, "x-a: b")} },
		"two statuses":         func(id uint32) []string { return []string{headers(id, true, ":status: 200", ":status: 404")} },
		"status 99":            func(id uint32) []string { return []string{headers(id, true, ":status: 99")} },
		"status 2000":          func(id uint32) []string { return []string{headers(id, true, ":status: 2000")} },
		"status plus":          func(id uint32) []string { return []string{headers(id, true, ":status: +20")} },
		"status text":          func(id uint32) []string { return []string{headers(id, true, ":status: 200 OK")} },
		"status 600":           func(id uint32) []string { return []string{headers(id, true, ":status: 600")} },
		"status 999":           func(id uint32) []string { return []string{headers(id, true, ":status: 999")} },
		"status 101":           func(id uint32) []string { return []string{headers(id, true, ":status: 101")} },
		"pseudo after regular": func(id uint32) []string { return []string{headers(id, true, "x-a: b", ":status: 200")} },
		"path in response":     func(id uint32) []string { return []string{headers(id, true, ":status: 200", ":path: /")} },
		"upper case name":      func(id uint32) []string { return []string{headers(id, true, ":status: 200", "X-A: b")} },
		"CRLF in value": func(id uint32) []string {
			return []string{headers(id, true, ":status: 200", "x-a: b\r\nset-cookie: c")}
		},
		"LF in value":   func(id uint32) []string { return []string{headers(id, true, ":status: 200", "x-a: b\nc")} },
		"colon in name": func(id uint32) []string { return []string{headers(id, true, ":status: 200", "\x00a:b\x00c")} },
		"connection":    func(id uint32) []string { return []string{headers(id, true, ":status: 200", "connection: close")} },
		"keep-alive":    func(id uint32) []string { return []string{headers(id, true, ":status: 200", "keep-alive: 5")} },
		"upgrade":       func(id uint32) []string { return []string{headers(id, true, ":status: 200", "upgrade: foo")} },
		"transfer-encoding": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "transfer-encoding: chunked"), content(id, true, "2\r\nok\r\n0\r\n\r\n")}
		},
		"trailers": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200"), content(id, false, "ok"), headers(id, true, "x-t: 1")}
		},
		"trailers with pseudo": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200"), content(id, false, "ok"), headers(id, true, ":status: 404")}
		},
		"trailers without end": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200"), content(id, false, "ok"), headers(id, false, "x-t: 1")}
		},
		"CRLF in trailer": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200"), content(id, false, "ok"), headers(id, true, "x-t: 1\r\n\r\nGET")}
		},
		"two heads": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200"), headers(id, false, ":status: 404"), content(id, true, "ok")}
		},
		"content before head": func(id uint32) []string { return []string{content(id, true, "ok")} },
		"204 with content":    func(id uint32) []string { return []string{headers(id, false, ":status: 204"), content(id, true, "ok")} },
		"304 with content":    func(id uint32) []string { return []string{headers(id, false, ":status: 304"), content(id, true, "ok")} },
		"304 with length":     func(id uint32) []string { return []string{headers(id, true, ":status: 304", "content-length: 9")} },
		"204 with length":     func(id uint32) []string { return []string{headers(id, true, ":status: 204", "content-length: 9")} },
		"103 first": func(id uint32) []string {
			return []string{headers(id, false, ":status: 103", "link: a"), headers(id, true, ":status: 200")}
		},
		"100 first": func(id uint32) []string {
			return []string{headers(id, false, ":status: 100"), headers(id, true, ":status: 200")}
		},
		"103 at the end":      func(id uint32) []string { return []string{headers(id, true, ":status: 103")} },
		"reset at once":       func(id uint32) []string { return []string{cancel(id, http2.ErrCodeInternal)} },
		"refused":             func(id uint32) []string { return []string{cancel(id, http2.ErrCodeRefusedStream)} },
		"reset without error": func(id uint32) []string { return []string{cancel(id, http2.ErrCodeNo)} },
		"reset after head": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200"), cancel(id, http2.ErrCodeInternal)}
		},
		"reset after content": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "content-length: 9"), content(id, false, "ok"), cancel(id, http2.ErrCodeCancel)}
		},
		"reset after the end": func(id uint32) []string {
			return []string{headers(id, true, ":status: 200"), cancel(id, http2.ErrCodeNo)}
		},
		"cookies": func(id uint32) []string {
			return []string{headers(id, true, ":status: 200", "set-cookie: a=1", "x-a: b", "set-cookie: b=2")}
		},
		"gRPC trailers alone": func(id uint32) []string {
			return []string{headers(id, true, ":status: 200", "content-type: application/grpc", "grpc-status: 7", "grpc-message: no")}
		},
		"content-length of trailers": func(id uint32) []string {
			return []string{headers(id, false, ":status: 200", "content-length: 5"), content(id, false, "ok"), headers(id, true, "x-t: 1")}
		},
	} {
		t := l.add("http2/response to HTTP/2/"+name, opening(headers(1, true, ask2("two.example", "/x")...)), framed(f)...)
		t.http2, t.quiet = true, 300*time.Millisecond
		t = l.add("http2/response to HTTP/1/"+name, at("two.example", "/x"), framed(f)...)
		t.quiet = 400 * time.Millisecond
		if strings.Contains(name, "length") || strings.Contains(name, "usual") || strings.Contains(name, "content") {
			t = l.add("http2/response to HEAD/"+name, "HEAD"+at("two.example", "/x")[len("GET"):], framed(f)...)
			t.quiet = 400 * time.Millisecond
		}
	}
	for name, text := range map[string]string{
		"usual": "HTTP/1.1 200 Fine\r\nX-A: b\r\ncontent-length: 2\r\n\r\nok", "chunked": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"chunked with trailers": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", "hop by hop": "HTTP/1.1 200 OK\r\nconnection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: 5\r\nproxy-connection: x\r\nupgrade: foo\r\ncontent-length: 2\r\n\r\nok",
		"103 first": "HTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "204": "HTTP/1.1 204 No\r\n\r\n", "304": "HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", "tab in value": "HTTP/1.1 200 OK\r\nx-a: b\tc\r\ncontent-length: 2\r\n\r\nok",
		"high bytes": "HTTP/1.1 200 OK\r\nx-a: \xc3\xa9\xff\r\ncontent-length: 2\r\n\r\nok", "status 600": "HTTP/1.1 600 Six\r\ncontent-length: 2\r\n\r\nok", "101": "HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
		"te": "HTTP/1.1 200 OK\r\nte: trailers\r\nhost: x\r\ncontent-length: 2\r\n\r\nok", "cookies": "HTTP/1.1 200 OK\r\nset-cookie: a\r\nx-a: b\r\nset-cookie: b\r\ncontent-length: 2\r\n\r\nok",
	} {
		t := l.add("http2/response from HTTP/1/"+name, opening(headers(1, true, ask2("a.example", "/noretry")...)), answer{parts: []string{text}}, answer{parts: []string{hello}})
		t.http2, t.quiet = true, 300*time.Millisecond
	}
	early := func(name string, rest ...string) {
		post := replace(ask2("two.example", "/x"), ":method: POST")
		t := l.add("http2/response/"+name, opening(headers(1, false, post...)), answer{early: true, frames: func(id uint32) []string {
			return []string{headers(id, false, ":status: 413"), content(id, true, "no"), cancel(id, http2.ErrCodeNo)}
		}})
		t.send = append(t.send, rest...)
		t.http2, t.quiet = true, 300*time.Millisecond
	}
	early("ended before the request")
	early("ended before the request, which goes on", content(1, false, "more"), content(1, true, "and more"))
}

// tunnels2 are extended and plain CONNECT.
func (l *list) tunnels2() {
	ws := func(host, path string, more ...string) []string {
		return append([]string{":method: CONNECT", ":protocol: websocket", ":scheme: http", ":authority: " + host, ":path: " + path}, more...)
	}
	connect := func(to string, more ...string) []string {
		return append([]string{":method: CONNECT", ":authority: tunnel.example:443", "x-to: " + to}, more...)
	}
	accepted := answer{parts: []string{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"}, tunnel: true}
	accepted2 := answer{parts: []string{"HTTP/1.1 200 OK\r\nsec-websocket-protocol: x\r\n\r\n"}, tunnel: true}
	add := func(name string, head []string, a []answer, rest ...string) *trial {
		t := l.add("http2/tunnel/"+name, opening(headers(1, false, head...)), a...)
		t.send = append(t.send, rest...)
		t.http2, t.quiet = true, 300*time.Millisecond
		return t
	}
	for host, a := range map[string]answer{"a.example": accepted, "two.example": accepted2} {
		how := " to HTTP/1"
		if host == "two.example" {
			how = " to HTTP/2"
		}
		one := []answer{a}
		add("websocket"+how, ws(host, "/noretry"), one, content(1, false, "ping"), content(1, false, "pong"))
		add("websocket ended"+how, ws(host, "/noretry"), one, content(1, false, "ping"), content(1, true, ""))
		add("websocket ended with content"+how, ws(host, "/noretry"), one, content(1, true, "ping"))
		add("websocket cancelled"+how, ws(host, "/noretry"), one, content(1, false, "ping"), cancel(1, http2.ErrCodeCancel))
		add("websocket early data"+how, ws(host, "/noretry"), []answer{{parts: a.parts, tunnel: true, wait: 100 * time.Millisecond}}, content(1, false, "early"), content(1, false, "late"))
		add("websocket closed"+how, ws(host, "/noretry"), one, content(1, false, "ping")).after = "close"
		for status, text := range map[string]string{"403": "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno", "404": "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"} {
			add("websocket refused "+status+how, ws(host, "/noretry"), says(text))
			add("websocket refused "+status+" with early data"+how, ws(host, "/noretry"), says(text), content(1, false, "early"))
		}
		bye := answer{parts: []string{a.parts[0] + "bye"}, end: "close"}
		if host == "two.example" {
			bye = answer{frames: func(id uint32) []string {
				return []string{headers(id, false, ":status: 200"), content(id, true, "bye")}
			}}
		}
		add("websocket and the origin ends"+how, ws(host, "/noretry"), []answer{bye})
		add("websocket with fields"+how, ws(host, "/noretry", "sec-websocket-version: 13", "sec-websocket-protocol: chat", "origin: http://x", "sec-websocket-key: k"), one, content(1, false, "ping"))
		add("websocket with length"+how, ws(host, "/noretry", "content-length: 4"), one, content(1, false, "ping"), content(1, false, "more"))
		t := l.add("http2/tunnel/websocket without content"+how, opening(headers(1, true, ws(host, "/noretry")...)), a)
		t.http2, t.quiet = true, 300*time.Millisecond
		add("other protocol"+how, replace(ws(host, "/noretry"), ":protocol: foo"), one, content(1, false, "ping"))
		add("empty protocol"+how, replace(ws(host, "/noretry"), ":protocol: "), one, content(1, false, "ping"))
		add("protocol with CRLF"+how, replace(ws(host, "/noretry"), ":protocol: websocket\r\nx: y"), one, content(1, false, "ping"))
		add("upper case protocol"+how, replace(ws(host, "/noretry"), ":protocol: WebSocket"), one, content(1, false, "ping"))
		add("without path"+how, without(ws(host, "/noretry"), ":path"), one, content(1, false, "ping"))
		add("without scheme"+how, without(ws(host, "/noretry"), ":scheme"), one, content(1, false, "ping"))
		add("without authority"+how, without(ws(host, "/noretry"), ":authority"), one, content(1, false, "ping"))
		// The same from a downstream that speaks HTTP/1.
		if host == "two.example" {
			up := at(host, "/noretry", "connection: upgrade", "upgrade: websocket", "sec-websocket-key: k", "sec-websocket-version: 13")
			for name, a := range map[string]answer{"accepted": accepted2, "refused": says("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")[0]} {
				t := l.add("http2/tunnel/from HTTP/1 "+name, up, a)
				t.send, t.quiet = append(t.send, "ping"), 300*time.Millisecond
			}
			t := l.add("http2/tunnel/from HTTP/1 then fin", up, accepted2)
			t.send, t.quiet, t.after = append(t.send, "ping"), 300*time.Millisecond, "fin"
		}
	}
	add("websocket no route", ws("one.example", "/nope"), nil, content(1, false, "ping"))
	add("websocket dead", ws("a.example", "/once-dead"), nil, content(1, false, "ping"))
	shout := func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			_, _ = io.WriteString(c, strings.ToUpper(string(b[:n])))
			if err != nil {
				return
			}
		}
	}
	raw := func(name string, head []string, rest ...string) *trial {
		t := add(name, head, nil, rest...)
		t.raw = shout
		return t
	}
	raw("CONNECT", connect("origin"), content(1, false, "ping"), content(1, false, "pong"))
	raw("CONNECT ended", connect("origin"), content(1, false, "ping"), content(1, true, ""))
	raw("CONNECT cancelled", connect("origin"), content(1, false, "ping"), cancel(1, http2.ErrCodeCancel)).quiet = 200 * time.Millisecond
	raw("CONNECT early data", connect("origin")).send = []string{opening(headers(1, false, connect("origin")...), content(1, false, "early")), content(1, false, "late")}
	raw("CONNECT with length", connect("origin", "content-length: 4"), content(1, false, "ping"), content(1, false, "more"))
	raw("CONNECT with path", connect("origin", ":path: /x"), content(1, false, "ping"))
	raw("CONNECT with scheme and path", []string{":method: CONNECT", ":scheme: http", ":path: /", ":authority: tunnel.example:443", "x-to: origin"}, content(1, false, "ping"))
	raw("CONNECT without authority", []string{":method: CONNECT", "x-to: origin"}, content(1, false, "ping"))
	raw("CONNECT without port", []string{":method: CONNECT", ":authority: tunnel.example", "x-to: origin"}, content(1, false, "ping"))
	for _, to := range []string{"dead", "none", "unknown", "elsewhere", "off", "plain"} {
		raw("CONNECT "+to, connect(to), content(1, false, "ping")).quiet = 500 * time.Millisecond
	}
	add("CONNECT and the origin speaks first", connect("origin"), nil).raw = func(c net.Conn) { _, _ = io.WriteString(c, "banner") }
	add("CONNECT and the origin resets", connect("origin"), nil, content(1, false, "abc")).raw = func(c net.Conn) {
		_, _ = c.Read(make([]byte, 10))
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	for _, to := range []string{"forward", "forward2"} {
		ok := answer{parts: []string{"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n"}, tunnel: true}
		add("CONNECT "+to, connect(to), []answer{ok}, content(1, false, "ping"), content(1, false, "pong"))
		add("CONNECT "+to+" ended", connect(to), []answer{ok}, content(1, false, "ping"), content(1, true, ""))
		add("CONNECT "+to+" refused", connect(to), says("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"))
		add("CONNECT "+to+" early data", connect(to), []answer{{parts: ok.parts, tunnel: true, wait: 100 * time.Millisecond}}, content(1, false, "early"))
	}
}
