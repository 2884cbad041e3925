package twin

import (
	"fmt"
	"strings"
	"time"
)

// okLine begins most responses.
const okLine = "HTTP/1.1 200 OK\r\n"

// answered are responses of servers, and what they do with the connection then.
var answered = []struct{ name, text, end string }{
	{"reason", "HTTP/1.1 200 Very Fine\r\ncontent-length: 0\r\n\r\n", ""},
	{"no reason", "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", ""},
	{"status 299", "HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n", ""},
	{"status 600", "HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n", ""},
	{"status 000", "HTTP/1.1 000 Odd\r\ncontent-length: 0\r\n\r\n", ""},
	{"status text", "HTTP/1.1 abc Odd\r\ncontent-length: 0\r\n\r\n", ""},
	{"headers kept", okLine + "X-B: 1\r\nContent-Type: text/html\r\nX-A: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-B: 3\r\nVary: a\r\nVary: b\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok", ""},
	{"server and date", okLine + "Server: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-Last: 1\r\nContent-Length: 2\r\n\r\nok", ""},
	{"server twice", okLine + "Server: a\r\nServer: b\r\nContent-Length: 2\r\n\r\nok", ""},
	{"hop by hop", okLine + "Connection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nProxy-Connection: x\r\nTE: x\r\nTrailer: x-t\r\nproxy-authenticate: Basic\r\nContent-Length: 2\r\n\r\nok", ""},
	{"connection close", okLine + "Connection: close\r\nContent-Length: 2\r\n\r\nok", "close"},
	{"envoy headers", okLine + "x-envoy-upstream-service-time: 77\r\nx-envoy-decorator-operation: op\r\nx-envoy-peer-metadata: m\r\nx-envoy-peer-metadata-id: i\r\nx-envoy-attempt-count: 3\r\nx-envoy-upstream-canary: true\r\nx-envoy-overloaded: true\r\nx-request-id: theirs\r\nContent-Length: 2\r\n\r\nok", ""},
	{"location", "HTTP/1.1 302 Found\r\nLocation: http://" + routesHost + "/x\r\nContent-Length: 0\r\n\r\n", ""},
	{"until close", okLine + "\r\nbody until close", "close"},
	{"until reset", okLine + "\r\nbody until reset", "reset"},
	{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "close"},
	{"1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", ""},
	{"2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "close"},
	{"not HTTP", "SSH-2.0-OpenSSH\r\n", "close"},
	{"204", "HTTP/1.1 204 No Content\r\n\r\n", ""},
	{"204 with length", "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc", "close"},
	{"304", "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", ""},
	{"304 with length", "HTTP/1.1 304 Not Modified\r\ncontent-length: 300\r\n\r\n", ""},
	{"205", "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", ""},
	{"chunked", okLine + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""},
	{"chunked upper", okLine + "Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", ""},
	{"chunked with trailers", okLine + "Trailer: x-t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", ""},
	{"chunked empty", okLine + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
	{"chunk extension", okLine + "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0;x\r\n\r\n", ""},
	{"chunk size junk", okLine + "Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", "close"},
	{"chunk cut", okLine + "Transfer-Encoding: chunked\r\n\r\n5\r\nok", "close"},
	{"gzip, chunked", okLine + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "close"},
	{"encoding and length", okLine + "Transfer-Encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", "close"},
	{"lengths differ", okLine + "content-length: 2\r\ncontent-length: 3\r\n\r\nabc", "close"},
	{"length junk", okLine + "content-length: x\r\n\r\nok", "close"},
	{"length too long", okLine + "content-length: 5\r\n\r\nok", "close"},
	{"length too short", okLine + "content-length: 2\r\n\r\nokmore", "close"},
	{"100 first", "HTTP/1.1 100 Continue\r\n\r\n" + okLine + "content-length: 2\r\n\r\nok", ""},
	{"102 first", "HTTP/1.1 102 Processing\r\nx: y\r\n\r\n" + okLine + "content-length: 2\r\n\r\nok", ""},
	{"103 first", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + okLine + "content-length: 2\r\n\r\nok", ""},
	{"101 unasked", "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nstuff", "close"},
	{"close at once", "", "close"},
	{"reset at once", "", "reset"},
	{"close in head", okLine + "x-a:", "close"},
	{"reset in head", okLine + "x-a:", "reset"},
	{"space before colon", okLine + "X-A : b\r\ncontent-length: 0\r\n\r\n", "close"},
	{"no colon", okLine + "junk\r\ncontent-length: 0\r\n\r\n", "close"},
	{"value with zero", okLine + "x-a: a\x00b\r\ncontent-length: 0\r\n\r\n", "close"},
	{"value with control", okLine + "x-a: a\x01b\r\ncontent-length: 0\r\n\r\n", "close"},
	{"value high", okLine + "x-a: a\xffb\r\ncontent-length: 0\r\n\r\n", ""},
	{"fold", okLine + "x-a: a\r\n  b\r\ncontent-length: 0\r\n\r\n", ""},
	{"bare line feeds", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok", "close"},
	{"head of 58 KB", okLine + "x-a: " + strings.Repeat("v", 58000) + "\r\ncontent-length: 0\r\n\r\n", ""},
	{"head of 70 KB", okLine + "x-a: " + strings.Repeat("v", 70000) + "\r\ncontent-length: 0\r\n\r\n", "close"},
	{"100 headers", okLine + strings.Repeat("x-a: b\r\n", 99) + "content-length: 0\r\n\r\n", ""},
	{"101 headers", okLine + strings.Repeat("x-a: b\r\n", 100) + "content-length: 0\r\n\r\n", "close"},
	{"400", "HTTP/1.1 400 Bad\r\ncontent-length: 3\r\n\r\nbad", ""},
	{"503", "HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nbad", ""},
	{"body of 100 KB", okLine + "content-length: 100000\r\n\r\n" + strings.Repeat("b", 100000), ""},
}

func (c *corpus) responses() {
	for _, r := range answered {
		send := plain()
		if r.text == "" { // a GET on a connection that was used before is repeated
			c.route("response/"+r.name+", fresh", get(routesHost, "/fresh"), answer{raw: []string{""}, end: r.end})
			send = post("", "content-length: 0")
		}
		t := c.rest("response/"+r.name, []answer{{raw: []string{r.text}, end: r.end}}, send)
		if strings.Contains("reason|server and date|hop by hop|envoy headers|until close|chunked with trailers|204|100 first|close at once|reset in head", r.name) {
			c.in("response/"+r.name, t.answers, strings.NewReplacer(routesHost, serverHost, plainPath, "/x").Replace(send))
		}
		if strings.Contains("headers kept|until close|chunked|304 with length|length too long", r.name) {
			// Whether the proxy keeps its own connection after a HEAD is not to be seen.
			c.rest("response/to HEAD "+r.name, []answer{{raw: []string{r.text}, end: "close"}}, req("HEAD", routesHost, plainPath))
		}
	}
	c.rest("response/in parts", says(okLine+"conte", "nt-length: 10\r\n", "\r\n01234", "56789"), plain())
	c.rest("response/chunked in parts", says(okLine+"transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n", "5\r\n56789\r\n", "0\r\n\r\n"), plain())
	c.rest("response/cut after a part", []answer{{raw: []string{okLine + "content-length: 10\r\n\r\n01234", ""}, end: "close"}}, plain())
	c.rest("response/chunked, cut after a part", []answer{{raw: []string{okLine + "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n", ""}, end: "close"}}, plain())
	c.rest("response/bad chunk after a part", []answer{{raw: []string{okLine + "transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n", "xyz\r\n"}, end: "close"}}, plain())
	c.rest("response/reset after a part", []answer{{raw: []string{okLine + "content-length: 10\r\n\r\n01234", ""}, end: "reset"}}, plain())
	early := c.rest("response/early", []answer{{raw: []string{okLine + "content-length: 2\r\n\r\nok"}, early: true, end: "hold"}}, post("", "content-length: 10"), "01234", "56789")
	early.loose = []string{"log*.received"} // the rest may come before the end or after it
	left := c.rest("response/downstream resets while it waits", []answer{{wait: 400 * time.Millisecond, end: "close"}}, plain())
	left.after, left.loose = "reset", []string{"upstream*.end"}
}

// failures are replies because something is not there or does not answer.
func (c *corpus) failures() {
	type target struct{ name, host, at string }
	for _, t := range []target{
		{"refused", "dead.twin", "dead.twin:80"},
		{"no endpoints", "none.twin", "none.twin:80"},
		{"unreachable", "hole.twin", "hole.twin:80"},
		{"no TLS spoken", "liar.twin", "liar.twin:80"},
		{"other identity", "impostor.twin", "impostor.twin:80"},
		{"other names", "other.twin", "other.twin:80"},
		{"untrusted certificate", "stranger.twin", "stranger.twin:80"},
		{"expired certificate", "expired.twin", "expired.twin:80"},
		{"handshake cut", "mute.twin", "mute.twin:80"},
	} {
		for _, m := range []string{"GET", "HEAD", "POST"} {
			send := req(m, t.host, "/x")
			if m == "POST" {
				send = req(m, t.host, "/x", "content-length: 3") + "abc"
			}
			c.add(trial{name: "outbound/failure/" + t.name + " " + m, to: t.at, send: []string{send}, quiet: 8 * time.Second})
		}
		c.add(trial{name: "outbound/failure/" + t.name + " gRPC", to: t.at, quiet: 8 * time.Second, send: []string{
			req("POST", t.host, "/x", "content-type: application/grpc", "te: trailers", "content-length: 0"),
		}})
	}
	for i := range c.list {
		if c.list[i].to == "hole.twin:80" { // the kernel gives up at some time, or the connect time-out passes first
			c.list[i].loose = []string{"log*.failure", "log*.details", "response.body", "response.header content-length", "log*.sent"}
		}
	}
	each([][2]string{
		{"unknown subset", "/unknown-subset"}, {"empty subset", "/empty-subset"}, {"unknown host", "/unknown-host"}, {"other port", "/elsewhere"},
	}, func(name, path string) {
		c.route("failure/"+name, get(routesHost, path))
		c.route("failure/"+name+" with close", get(routesHost, path, "connection: close"))
	})
	slow := []answer{{wait: 700 * time.Millisecond, end: "close"}}
	c.route("failure/slow", get(routesHost, "/timeout"), slow...)
	c.route("failure/slow gRPC", req("POST", routesHost, "/timeout", "content-type: application/grpc", "content-length: 0"), slow...)
	c.route("failure/slow by request header", get(routesHost, plainPath, "x-envoy-upstream-rq-timeout-ms: 200"), slow...)
	c.route("failure/slow body", get(routesHost, "/timeout"), answer{raw: []string{"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234"}, end: "hold"})
	c.route("failure/not slow", get(routesHost, "/timeout"), answer{wait: 50 * time.Millisecond})
	c.route("failure/two on a connection", get(routesHost, "/unknown-host")+get(routesHost, "/empty-subset")+get(routesHost, "/direct")).want = 3
	for _, h := range []string{"web.twin", "outside.example", "bare.twin"} {
		c.add(trial{name: "closed/known/" + h, from: "closed", to: h + ":80", send: []string{get(h, "/x")}})
	}
	for _, from := range []string{"client", "closed"} {
		direction := map[string]string{"client": "outbound", "closed": "closed"}[from]
		c.add(trial{name: direction + "/unknown address/HTTP", from: from, to: "10.0.4.1:8080", send: []string{get("anything.example", "/x")}})
		c.add(trial{name: direction + "/unknown address/refused", from: from, to: "10.0.4.1:9997", send: []string{get("anything.example", "/x")}, raw: true, quiet: badQuiet})
		c.add(trial{name: direction + "/unknown address/TCP", from: from, to: "10.0.4.1:8090", send: []string{"trial {id} \n", "abc"}, raw: true, quiet: badQuiet})
		c.add(trial{name: direction + "/unknown address/server of the mesh", from: from, to: "10.0.3.1:8443", raw: true, quiet: badQuiet, send: []string{get("anything.example", "/x")}})
	}
	c.add(trial{name: "outbound/TLS origination/good", to: "outside.example:80", send: []string{get("outside.example", "/x")}})
	c.add(trial{name: "outbound/TLS origination/post", to: "outside.example:80", send: []string{req("POST", "outside.example", "/x", "content-length: 2") + "ab"}})
}

func (c *corpus) retries() {
	busy := answer{reply: &reply{status: 503, body: "busy"}}
	broken := answer{reply: &reply{status: 500, body: "broken"}}
	fine := answer{}
	c.route("retry/5xx always", get(routesHost, "/retry-5xx"), broken)
	c.route("retry/5xx once", get(routesHost, "/retry-5xx"), broken, fine)
	c.route("retry/5xx twice", get(routesHost, "/retry-5xx"), broken, broken, fine)
	c.route("retry/5xx and 404", get(routesHost, "/retry-5xx"), answer{reply: &reply{status: 404, body: "none"}}, fine)
	c.route("retry/5xx with body", req("POST", routesHost, "/retry-5xx", "content-length: 3")+"abc", busy, fine)
	c.route("retry/5xx with chunked body", req("POST", routesHost, "/retry-5xx", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n", busy, fine)
	c.route("retry/5xx and close", get(routesHost, "/retry-5xx"), answer{raw: []string{""}, end: "close"}, fine)
	c.route("retry/5xx and ratelimited", get(routesHost, "/retry-5xx"), answer{reply: &reply{status: 503, body: "x", fields: fields("x-envoy-ratelimited: true")}}, fine)
	big := strings.Repeat("x", 1<<20+100)
	c.route("retry/5xx with a body that is too long to keep", req("POST", routesHost, "/retry-5xx", fmt.Sprintf("content-length: %d", len(big)))+big, busy, fine)
	c.route("retry/status codes once", get(routesHost, "/retry-codes"), busy, fine)
	c.route("retry/status codes other", get(routesHost, "/retry-codes"), answer{reply: &reply{status: 502, body: "x"}}, fine)
	c.route("retry/status codes 409", get(routesHost, "/retry-codes"), answer{reply: &reply{status: 409, body: "x"}}, fine)
	c.route("retry/reset once", get(routesHost, "/retry-reset"), answer{raw: []string{""}, end: "reset"}, fine)
	c.route("retry/reset always", get(routesHost, "/retry-reset"), answer{raw: []string{""}, end: "reset"})
	c.route("retry/reset and 503", get(routesHost, "/retry-reset"), busy, fine)
	c.route("retry/reset after head", get(routesHost, "/retry-reset"), answer{raw: []string{"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", ""}, end: "reset"}, fine)
	c.route("retry/slow once", get(routesHost, "/retry-slow"), answer{wait: 500 * time.Millisecond, end: "close"}, fine)
	c.route("retry/slow always", get(routesHost, "/retry-slow"), answer{wait: 600 * time.Millisecond, end: "close"})
	c.route("retry/none", get(routesHost, plainPath), busy, fine)
	c.route("retry/none and reset", get(routesHost, "/fresh"), answer{raw: []string{""}, end: "reset"}, fine)
	c.route("retry/none but asked for", get(routesHost, plainPath, "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 1"), busy, fine)
	c.route("retry/refused", get(routesHost, "/retry-refused"))
	c.route("retry/by default 503", get(routesHost, "/exact"), busy, fine)
	c.route("retry/by default reset", get(routesHost, "/retried-fresh"), answer{raw: []string{""}, end: "reset"}, fine)
	c.route("retry/by default gRPC unavailable", req("POST", routesHost, "/exact", "content-type: application/grpc", "content-length: 0"),
		answer{reply: &reply{status: 200, fields: fields("content-type: application/grpc", "grpc-status: 14")}}, fine)
	c.route("retry/by default gRPC internal", req("POST", routesHost, "/exact", "content-type: application/grpc", "content-length: 0"),
		answer{reply: &reply{status: 200, fields: fields("content-type: application/grpc", "grpc-status: 13")}}, fine)
}

func (c *corpus) upgrades() {
	ws := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Version: 13"}
	const accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
	const quiet = 400 * time.Millisecond
	yes := []answer{{raw: []string{accepted}, tunnel: true}}
	for side, add := range map[string]func(string, []answer, ...string) *trial{
		"routes": func(n string, a []answer, send ...string) *trial { return c.rest("upgrade/"+n, a, send...) },
		"server": func(n string, a []answer, send ...string) *trial { return c.in("upgrade/"+n, a, send...) },
	} {
		first := plain(ws...)
		if side == "server" {
			first = get(serverHost, "/x", ws...)
		}
		t := add("accepted", yes, first, "ping", "pong")
		t.quiet, t.loose = quiet, []string{"log*.sent", "upstream*.end"} // the client leaves at some point
		add("accepted, early bytes", yes, first+"early").quiet = quiet
		late := []answer{{raw: []string{accepted}, tunnel: true, lag: 3 * pause}} // the half-close is there before
		t = add("accepted, then half closed", late, first, "ping")
		t.after, t.quiet, t.loose = "fin", quiet, []string{"end"}
		add("refused", says("HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno"), first)
		add("refused with 200", says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"), first)
		add("refused with 426", says("HTTP/1.1 426 No\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno"), first)
		add("answered with other protocol", []answer{{raw: []string{strings.Replace(accepted, "websocket", "other", 1)}, tunnel: true}}, first).quiet = quiet
		add("answered with bytes", []answer{{raw: []string{accepted + "first"}, tunnel: true}}, first).quiet = quiet
	}
	each([][2]string{
		{"unknown", "connection: upgrade\r\nupgrade: foo"},
		{"in mixed case", "connection: keep-alive, UPGRADE\r\nupgrade: WebSocket"},
		{"without connection", "upgrade: websocket"},
		{"without upgrade", "connection: upgrade"},
		{"of a list", "connection: upgrade\r\nupgrade: foo, websocket"},
		{"to h2c", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA"},
	}, func(name, lines string) {
		c.rest("upgrade/asked "+name, nil, plain(strings.Split(lines, "\r\n")...)).quiet = quiet
	})
	c.rest("upgrade/with body", says("HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno"), post("abc", append(ws, "content-length: 3")...))
	c.route("upgrade/at a direct response", get(routesHost, "/direct", ws...))
	c.route("upgrade/at a refused endpoint", get(routesHost, "/retry-refused", ws...))
	c.route("upgrade/at nothing", get(routesHost, "/nothing-matches", ws...))
}
