//go:build oracle

package oracle_test

import (
	"io"
	"net"
	"strings"
	"time"
)

func upgrades() []trial {
	var l list
	ws := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Version: 13"}
	ok := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
	for _, to := range []string{"out", "in"} {
		t := l.add("upgrade/"+to+" accepted", "", answer{parts: []string{ok}, tunnel: true})
		t.to, t.send, t.quiet = to, []string{get("/noretry", ws...), "ping", "pong"}, 200*time.Millisecond
		t = l.add("upgrade/"+to+" accepted then fin", "", answer{parts: []string{ok}, tunnel: true})
		t.to, t.send, t.quiet, t.after = to, []string{get("/noretry", ws...), "ping"}, 200*time.Millisecond, "fin"
		t = l.add("upgrade/"+to+" early data", "", answer{parts: []string{ok}, tunnel: true})
		t.to, t.send, t.quiet = to, []string{get("/noretry", ws...) + "early"}, 200*time.Millisecond
		l.add("upgrade/"+to+" refused", get("/noretry", ws...), says("HTTP/1.1 400 No\r\nconnection: x\r\ncontent-length: 2\r\n\r\nno")...).to = to
		l.add("upgrade/"+to+" refused 200", get("/noretry", ws...), says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")...).to = to
		l.add("upgrade/"+to+" refused 426", get("/noretry", ws...), says("HTTP/1.1 426 No\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno")...).to = to
	}
	l.add("upgrade/unknown", get("/noretry", "connection: upgrade", "upgrade: foo"))
	l.add("upgrade/unknown grpc", get("/noretry", "connection: upgrade", "upgrade: foo", "content-type: application/grpc"))
	l.add("upgrade/mixed case", get("/noretry", "connection: keep-alive, UPGRADE", "upgrade: WebSocket"), answer{parts: []string{ok}, tunnel: true}).quiet = 200 * time.Millisecond
	l.add("upgrade/without connection", get("/noretry", "upgrade: websocket"))
	l.add("upgrade/without upgrade", get("/noretry", "connection: upgrade"))
	l.add("upgrade/list", get("/noretry", "connection: upgrade", "upgrade: foo, websocket"))
	l.add("upgrade/list first", get("/noretry", "connection: upgrade", "upgrade: websocket, foo"))
	l.add("upgrade/twice", get("/noretry", "connection: upgrade", "upgrade: websocket", "upgrade: foo"))
	l.add("upgrade/h2c", get("/noretry", "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAA"))
	l.add("upgrade/h2c list", get("/noretry", "connection: upgrade, http2-settings", "upgrade: h2c, websocket", "http2-settings: AAA"))
	l.add("upgrade/with body", req("POST", "/noretry", append(ws, "content-length: 3")...)+"abc", says("HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno")...)
	l.add("upgrade/with chunked", req("POST", "/noretry", append(ws, "transfer-encoding: chunked")...)+"3\r\nabc\r\n0\r\n\r\n", says("HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno")...)
	l.add("upgrade/101 other protocol", get("/noretry", ws...), answer{parts: []string{strings.Replace(ok, "websocket", "other", 1)}, tunnel: true}).quiet = 200 * time.Millisecond
	l.add("upgrade/101 without headers", get("/noretry", ws...), answer{parts: []string{"HTTP/1.1 101 S\r\n\r\n"}, tunnel: true}).quiet = 200 * time.Millisecond
	l.add("upgrade/101 then data", get("/noretry", ws...), answer{parts: []string{ok + "first"}, tunnel: true}).quiet = 200 * time.Millisecond
	l.add("upgrade/101 then close", get("/noretry", ws...), answer{parts: []string{ok + "first"}, end: "close"}).quiet = 200 * time.Millisecond
	l.add("upgrade/101 with length", get("/noretry", ws...), answer{parts: []string{strings.Replace(ok, "\r\n\r\n", "\r\ncontent-length: 5\r\n\r\n", 1) + "first"}, tunnel: true}).quiet = 200 * time.Millisecond
	l.add("upgrade/dead", get("/dead", ws...))
	l.add("upgrade/direct", get("/direct", ws...))
	l.add("upgrade/redirect", get("/redirect", ws...))
	l.add("upgrade/no route", at("one.example", "/nope", ws...))
	l.add("upgrade/100 first", get("/noretry", ws...), answer{parts: []string{"HTTP/1.1 100 Continue\r\n\r\n" + ok}, tunnel: true}).quiet = 200 * time.Millisecond
	l.add("upgrade/not configured", get("/x", ws...)).to = "timeouts"
	return l
}

// connects are tunnels: ended at the proxy, forwarded, and refused.
func connects() []trial {
	var l list
	ask := func(to string) string {
		return "CONNECT tunnel.example:443 HTTP/1.1\r\nhost: tunnel.example:443\r\nx-to: " + to + "\r\n\r\n"
	}
	const lingers = 1500 * time.Millisecond // more than Envoy's delayed close
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
	add := func(name, to string, raw func(net.Conn), parts ...string) *trial {
		t := l.add("connect/"+name, "")
		t.send, t.raw, t.quiet = append([]string{ask(to)}, parts...), raw, 300*time.Millisecond
		t.want = 2 // what follows the head is no response
		return t
	}
	refused := func(name, to string) *trial {
		t := add(name, to, shout, "ping")
		t.want = 1
		return t
	}
	add("ends here", "origin", shout, "ping", "pong")
	add("ends here then fin", "origin", shout, "ping").after = "fin"
	add("ends here then close", "origin", shout, "ping").after = "close"
	add("ends here then reset", "origin", shout, "ping").after = "reset"
	add("early data", "origin", shout).send = []string{ask("origin") + "early", "late"}
	add("origin speaks first", "origin", func(c net.Conn) { _, _ = io.WriteString(c, "banner") }).quiet = lingers
	add("origin half-closes", "origin", func(c net.Conn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, "abc", "def").quiet = lingers
	add("origin resets", "origin", func(c net.Conn) {
		_, _ = c.Read(make([]byte, 10))
		_ = c.(*net.TCPConn).SetLinger(0)
	}, "abc").quiet = lingers
	add("to TLS", "tls", shout, "ping")
	for _, to := range []string{"dead", "none", "unknown", "retry", "hole"} {
		refused(to, to).quiet = 700 * time.Millisecond
	}
	refused("no route", "elsewhere")
	refused("switched off", "off")
	refused("not switched on", "plain")
	add("idle", "idle", shout, "ping").quiet = lingers
	add("lasting", "lasting", shout, "ping").quiet = lingers
	add("timeout is no bound", "slow", shout, "ping").quiet = 400 * time.Millisecond
	forward := func(name string, a answer, parts ...string) *trial {
		t := add(name, "forward", nil, parts...)
		t.answers = []answer{a}
		return t
	}
	ok := "HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n"
	forward("forwarded", answer{parts: []string{ok}, tunnel: true}, "ping", "pong")
	forward("forwarded then fin", answer{parts: []string{ok}, tunnel: true}, "ping").after = "fin"
	forward("forwarded with a length", answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"}, tunnel: true}, "ping")
	forward("forwarded and the origin ends", answer{parts: []string{ok + "bye"}, end: "close"}).quiet = lingers
	forward("forwarded and refused", answer{parts: []string{"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"}}).want = 1
	t := add("forwarded and slow", "slow-forward", nil)
	t.answers, t.quiet = []answer{{wait: 250 * time.Millisecond, parts: []string{ok}, tunnel: true}}, 500*time.Millisecond
	own := func(token string) string {
		return at("tunnel.example", "/own", "connection: upgrade", "upgrade: "+token)
	}
	l.add("connect/upgrade of the route", own("fOO"), answer{parts: []string{"HTTP/1.1 101 S\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n"}, tunnel: true}).quiet = 200 * time.Millisecond
	l.add("connect/upgrade off in the route", own("websocket"))
	return l
}
