package twin

import (
	"strings"
	"time"
)

// http2 are requests over HTTP/2 on either side.
func (c *corpus) http2() {
	pairs := []struct{ name, host, at string }{
		{"to HTTP/2 mutual", webHost + ":81", "web.twin:81"},
		{"to HTTP/2 plain", "bare.twin:81", "bare.twin:81"},
		{"to HTTP/1 mutual", webHost, webAt},
		{"to HTTP/1 plain", "bare.twin", "bare.twin:80"},
		{"by auto mutual", webHost + ":83", "web.twin:83"},
		{"by auto plain", "bare.twin:83", "bare.twin:83"},
	}
	for _, p := range pairs {
		add := func(name string, a []answer, streams ...stream) {
			c.add(trial{name: "outbound/HTTP2/" + p.name + " " + name, to: p.at, streams: streams, answers: a})
		}
		add("get", nil, h2get(p.host, "/x?y=1", "user-agent: me", "x-a: 1", "x-b: 2", "x-a: 3"))
		add("head", nil, h2req("HEAD", p.host, "/x"))
		add("post", nil, h2req("POST", p.host, "/x", "content-length: 5").with("hel", "lo"))
		add("post without length", nil, h2req("POST", p.host, "/x").with("hello"))
		add("post with trailers", nil, h2req("POST", p.host, "/x", "te: trailers").with("hello").then("x-t: 1"))
		add("answer without body", replies(204, ""), h2get(p.host, "/x"))
		add("answer with trailers", []answer{{reply: &reply{status: 200, body: "ok", fields: fields("trailer: x-t"), trailers: fields("x-t: 1")}}}, h2get(p.host, "/x"))
		add("answer 404", replies(404, "none", "x-a: 1", "x-a: 2", "set-cookie: a=1", "set-cookie: b=2"), h2get(p.host, "/x"))
		add("twice", nil, h2get(p.host, "/x"), h2get(p.host, "/y"))
		add("cookies", nil, h2get(p.host, "/x", "cookie: a=1", "cookie: b=2"))
	}
	c.toHTTP2()
	c.rulesOfHTTP2()
	c.rarerInHTTP2()
	c.inboundHTTP2()
}

// toHTTP2 are requests over HTTP/1.1 to servers that speak HTTP/2.
func (c *corpus) toHTTP2() {
	up := func(name string, a []answer, send string) *trial {
		return c.add(trial{name: "outbound/to HTTP2/" + name, to: "web.twin:81", send: []string{send}, answers: a})
	}
	host := webHost + ":81"
	up("get", nil, get(host, "/x", "x-a: 1", "cookie: a=1", "cookie: b=2", "te: trailers"))
	up("post", nil, req("POST", host, "/x", "content-length: 5")+"hello")
	up("chunked", nil, req("POST", host, "/x", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n")
	up("connection headers", nil, get(host, "/x", "connection: keep-alive, x-hop", "x-hop: 1", "keep-alive: 5", "proxy-connection: x"))
	up("head", nil, req("HEAD", host, "/x"))
	up("stream reset", []answer{{end: "reset"}}, get(host, "/x"))
	up("stream refused", []answer{{end: "refuse"}, {}}, get(host, "/x"))
	up("stream reset after head", []answer{{end: "reset", reply: &reply{status: 200, body: "begin"}}}, get(host, "/x"))
	// Elsewhere, since others are on the same connection: nobody else is on that of
	// this cluster.
	up("connection closed", []answer{{end: "close"}}, get(routesHost, "/x")).to = "routes.twin:81"
	up("connection closed after head", []answer{{end: "close", reply: &reply{status: 200, body: "begin"}}}, get("bare.twin:82", "/x")).to = "bare.twin:82"
	up("going away", []answer{{end: "goaway"}}, get("bare.twin:81", "/x")).to = "bare.twin:81"
	up("empty host", nil, get("", "/x"))
	up("expect", nil, req("POST", host, "/x", "expect: 100-continue", "content-length: 3")+"abc")
	// Envoy waits for an answer that does not come, ours for the server's settings.
	ws := up("upgrade to websocket", nil, get(host, "/x", "connection: upgrade", "upgrade: websocket"))
	ws.quiet, ws.loose = badQuiet, []string{"end", "log1.*", "response.*"}
	up("204", replies(204, ""), get(host, "/x"))
	up("304", replies(304, "", "etag: x"), get(host, "/x"))
	up("503", replies(503, "busy"), get(host, "/x"))
	up("answer with connection headers", []answer{{reply: &reply{status: 200, body: "ok", fields: fields("connection: close")}}}, get(host, "/x"))
	up("gRPC by HTTP1", []answer{{reply: &reply{status: 200, fields: fields("content-type: application/grpc", "grpc-status: 5", "grpc-message: why")}}}, req("POST", "web.twin:82", "/pkg.Service/M", "content-type: application/grpc", "te: trailers", "content-length: 5")+"\x00\x00\x00\x00\x00").to = "web.twin:82"
	up("answer with trailers", []answer{{reply: &reply{status: 200, body: "ok", trailers: fields("x-t: 1")}}}, get(host, "/x"))
	up("refused", nil, get("dead.twin:81", "/x")).to = "dead.twin:81"
}

// down adds a request over HTTP/2 to the virtual service with every kind of route.
func (c *corpus) down(name string, s stream) *trial {
	return c.add(trial{name: "outbound/HTTP2/of " + name, to: routesAt, streams: []stream{s}})
}

// rulesOfHTTP2 are routes seen over HTTP/2, what it forbids, and what it calls
// otherwise.
func (c *corpus) rulesOfHTTP2() {
	down := c.down
	for _, p := range []string{"/direct", "/direct-empty", "/moved?x", "/nothing-matches", "/unknown-host", "/empty-subset", "/retry-refused", "/edit?q", "/rewrite/a"} {
		down("route "+p, h2get(routesHost, p, "x-in: a", "cookie: a=1", "accept: b"))
	}
	down("upper case name", h2get(routesHost, plainPath, "X-Upper: 1"))
	down("connection header", h2get(routesHost, plainPath, "connection: close"))
	down("transfer-encoding", h2req("POST", routesHost, plainPath, "transfer-encoding: chunked").with("a"))
	down("te gzip", h2get(routesHost, plainPath, "te: gzip"))
	down("te trailers", h2get(routesHost, plainPath, "te: trailers"))
	down("host beside authority", h2get(routesHost, plainPath, "host: other.example"))
	down("no path", stream{fields: fields(":method: GET", ":scheme: http", ":authority: "+routesHost)})
	down("empty path", h2get(routesHost, ""))
	down("no authority", stream{fields: fields(":method: GET", ":scheme: http", ":path: /direct", "x-trial: {id}")})
	down("host alone", stream{fields: fields(":method: GET", ":scheme: http", ":path: /direct", "host: "+routesHost, "x-trial: {id}")})
	down("no method", stream{fields: fields(":scheme: http", ":path: /direct", ":authority: "+routesHost)})
	down("no scheme", stream{fields: fields(":method: GET", ":path: /direct", ":authority: "+routesHost)})
	down("pseudo header twice", h2get(routesHost, plainPath, ":path: /other"))
	down("unknown pseudo header", h2get(routesHost, plainPath, ":odd: 1"))
	down("length too long", h2req("POST", routesHost, plainPath, "content-length: 9").with("abc")).loose = []string{"upstream*", "log*.upstream*", "log*.attempts", "log*.received"}
	down("length too short", h2req("POST", routesHost, plainPath, "content-length: 2").with("abc")).loose = []string{"upstream*", "log*.upstream*", "log*.attempts", "log*.received"}
	down("space in path", h2get(routesHost, "/a b"))
	down("line end in value", h2get(routesHost, plainPath, "x-a: a\r\nx-b: c"))
	down("bad name", h2get(routesHost, plainPath, "x a: 1"))
	down("head of 62 KB", h2get(routesHost, plainPath, strings.Split(strings.Repeat("x-a: "+strings.Repeat("v", 996)+"\n", 62)+"x-b: 1", "\n")...))
	down("102 headers", h2get(routesHost, plainPath, strings.Split(strings.Repeat("x-a: b\n", 98)+"x-b: 1", "\n")...))
	down("99 headers", h2get(routesHost, plainPath, strings.Split(strings.Repeat("x-a: b\n", 93)+"x-b: 1", "\n")...))
	down("head of 70 KB", h2get(routesHost, plainPath, "x-a: "+strings.Repeat("v", 70000)))
	down("reset", stream{fields: h2req("POST", routesHost, plainPath).fields, body: []string{"abc"}, reset: true}).loose = []string{"upstream*", "response*", "order*", "end", "log*.received", "log*.upstream*", "log*.attempts"}
	down("dots in path", h2get(routesHost, "/rest/../direct"))
	down("websocket by CONNECT", h2req("CONNECT", routesHost, plainPath, ":protocol: websocket"))
}

// rarerInHTTP2 are what clients send that are no browsers.
func (c *corpus) rarerInHTTP2() {
	down := c.down
	down("empty authority", stream{fields: fields(":method: GET", ":scheme: http", ":authority: ", ":path: /direct", "x-trial: {id}")})
	down("authority with user", h2get("user@"+routesHost, plainPath))
	down("authority with port", h2get(routesHost+":80", plainPath))
	down("authority in other case", h2get(strings.ToUpper(routesHost), plainPath))
	down("unknown authority", h2get("unknown.example", plainPath))
	down("scheme https", stream{fields: fields(":method: GET", ":scheme: https", ":authority: "+routesHost, ":path: "+plainPath, "x-trial: {id}")})
	down("scheme ftp", stream{fields: fields(":method: GET", ":scheme: ftp", ":authority: "+routesHost, ":path: "+plainPath, "x-trial: {id}")})
	down("path of a star", h2req("OPTIONS", routesHost, "*"))
	down("path without slash", h2get(routesHost, "rest"))
	down("path with fragment", h2get(routesHost, plainPath+"#f"))
	down("path with high bytes", h2get(routesHost, "/rest/\xc3\xa9"))
	down("escaped path", h2get(routesHost, "/rest/%41%2fb?%41"))
	down("method unknown", h2req("BREW", routesHost, plainPath))
	down("method in lower case", h2req("get", routesHost, plainPath))
	down("CONNECT", stream{fields: fields(":method: CONNECT", ":authority: "+routesHost+":80", "x-trial: {id}")})
	down("pseudo header late", stream{fields: fields(":method: GET", ":scheme: http", "x-trial: {id}", ":authority: "+routesHost, ":path: "+plainPath)})
	down("value with zero", h2get(routesHost, plainPath, "x-a: a\x00b"))
	down("value with control", h2get(routesHost, plainPath, "x-a: a\x01b"))
	down("value with high bytes", h2get(routesHost, plainPath, "x-a: \xc3\xa9\xff"))
	down("empty value", h2get(routesHost, plainPath, "x-a: "))
	down("underscores", h2get(routesHost, plainPath, "x_a: b"))
	down("keep-alive", h2get(routesHost, plainPath, "keep-alive: timeout=5"))
	down("upgrade", h2get(routesHost, plainPath, "upgrade: websocket"))
	down("expect", h2req("POST", routesHost, plainPath, "expect: 100-continue", "content-length: 3").with("abc"))
	down("lengths differ", h2req("POST", routesHost, plainPath, "content-length: 3", "content-length: 4").with("abc"))
	down("length junk", h2req("POST", routesHost, plainPath, "content-length: x").with("abc"))
	down("length without body", h2get(routesHost, plainPath, "content-length: 0"))
	down("trailers with pseudo header", h2req("POST", routesHost, plainPath).with("abc").then(":path: /x")).loose = []string{"upstream*", "log*.upstream*", "log*.attempts", "log*.received"}
	down("request id", h2get(routesHost, plainPath, "x-request-id: mine", "x-forwarded-for: 1.2.3.4", "x-forwarded-proto: https"))
	down("timeout", h2get(routesHost, "/timeout")).answers = []answer{{wait: 700 * time.Millisecond, end: "close"}}
	down("retries", h2get(routesHost, "/retry-5xx")).answers = []answer{{reply: &reply{status: 503, body: "busy"}}, {}}
	down("body at a direct response", h2req("POST", routesHost, "/direct").with("abc"))
	down("200 KB", h2req("POST", routesHost, plainPath).with(strings.Repeat("x", 16000), strings.Repeat("y", 16000), strings.Repeat("z", 16000)))
}

func (c *corpus) inboundHTTP2() {
	for _, p := range []struct {
		name, port string
		hello      *hello
	}{
		{"mutual", "8081", mutual("8081", "istio-h2", "istio", "h2")},
		{"plain", "8081", nil},
		{"gRPC port", "8082", mutual("8082", "istio-h2", "istio", "h2")},
		{"HTTP/1 port", "8080", mutual("8080", "istio-h2", "istio", "h2")},
		{"auto port", "8083", mutual("8083", "istio-h2", "istio", "h2")},
		{"auto port plain", "8083", nil},
		{"HTTP/1 port plain", "8080", nil},
	} {
		host := "server.twin:" + p.port
		add := func(name string, a []answer, s stream) {
			c.add(trial{name: "inbound/HTTP2/" + p.name + " " + name, from: "caller", to: "10.0.2.1:" + p.port, hello: p.hello, streams: []stream{s}, answers: a, quiet: 2 * time.Second})
		}
		add("get", nil, h2get(host, "/x", "x-a: 1", "x-forwarded-for: 1.2.3.4", "x-forwarded-client-cert: By=x"))
		add("post", nil, h2req("POST", host, "/x").with("hello"))
		add("answer with trailers", []answer{{reply: &reply{status: 200, body: "ok", trailers: fields("x-t: 1")}}}, h2get(host, "/x"))
	}
	for _, p := range []string{"8081", "8082"} {
		c.add(trial{
			name: "inbound/HTTP2/HTTP1 to port " + p, from: "caller", to: "10.0.2.1:" + p, hello: mutual(p, "istio-http/1.1", "istio", "http/1.1"),
			send: []string{get("server.twin:"+p, "/x")}, quiet: 2 * time.Second,
		})
	}
}

// grpc are calls as gRPC makes them.
func (c *corpus) grpc() {
	const message = "\x00\x00\x00\x00\x03abc"
	kind := []string{"content-type: application/grpc", "te: trailers", "user-agent: grpc-go/1", "grpc-accept-encoding: gzip"}
	ok := []answer{{reply: &reply{status: 200, body: message, fields: fields("content-type: application/grpc"), trailers: fields("grpc-status: 0", "grpc-message: ")}}}
	only := func(code string) []answer {
		return []answer{{reply: &reply{status: 200, fields: fields("content-type: application/grpc", "grpc-status: "+code, "grpc-message: why")}}}
	}
	for _, p := range []struct{ name, host, at string }{
		{"mutual", webHost + ":82", "web.twin:82"}, {"plain", "bare.twin:82", "bare.twin:82"},
	} {
		call := h2req("POST", p.host, "/pkg.Service/Method", kind...).with(message)
		add := func(name string, a []answer, s stream) {
			c.add(trial{name: "outbound/gRPC/" + p.name + " " + name, to: p.at, streams: []stream{s}, answers: a})
		}
		add("unary", ok, call)
		add("two messages", ok, h2req("POST", p.host, "/pkg.Service/Method", kind...).with(message, message))
		add("with timeout", ok, h2req("POST", p.host, "/pkg.Service/Method", append(kind, "grpc-timeout: 1S")...).with(message))
		add("trailers only 5", only("5"), call)
		add("trailers only 12", only("12"), call)
		add("trailers with 13", []answer{{reply: &reply{status: 200, body: message, fields: fields("content-type: application/grpc"), trailers: fields("grpc-status: 13", "grpc-message: broken%20it")}}}, call)
		add("answer 503", replies(503, "busy"), call)
		add("stream reset", []answer{{end: "reset"}}, call)
		add("binary metadata", ok, h2req("POST", p.host, "/pkg.Service/Method", append(kind, "x-bin: AAEC")...).with(message))
	}
	for _, t := range []struct{ name, host, at string }{{"refused", "dead.twin:82", "dead.twin:82"}, {"no endpoints", "none.twin:82", "none.twin:82"}, {"unknown host", "unknown.example", "web.twin:82"}} {
		c.add(trial{name: "outbound/gRPC/" + t.name, to: t.at, loose: []string{"log*.received"}, streams: []stream{h2req("POST", t.host, "/pkg.Service/Method", kind...).with(message)}})
	}
	c.add(trial{name: "inbound/gRPC/unary", from: "caller", to: "10.0.2.1:8082", hello: mutual("8082", "istio-h2", "istio", "h2"), answers: ok, streams: []stream{h2req("POST", "server.twin:8082", "/pkg.Service/Method", kind...).with(message)}})
	c.add(trial{name: "inbound/gRPC/with timeout", from: "caller", to: "10.0.2.1:8082", hello: mutual("8082", "istio-h2", "istio", "h2"), answers: ok, streams: []stream{h2req("POST", "server.twin:8082", "/pkg.Service/Method", append(kind, "grpc-timeout: 1S")...).with(message)}})
	c.add(trial{name: "inbound/gRPC/trailers only", from: "caller", to: "10.0.2.1:8082", hello: mutual("8082", "istio-h2", "istio", "h2"), answers: only("7"), streams: []stream{h2req("POST", "server.twin:8082", "/pkg.Service/Method", kind...).with(message)}})
	c.add(trial{name: "inbound/gRPC/plain", from: "caller", to: "10.0.2.1:8082", answers: ok, streams: []stream{h2req("POST", "server.twin:8082", "/pkg.Service/Method", kind...).with(message)}})
}
