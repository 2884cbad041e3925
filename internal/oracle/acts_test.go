//go:build oracle

package oracle_test

import "time"

// acts are trials of what routes do with requests, on a listener of their own.
func acts() []trial {
	var l list
	type h = []string
	add := func(name, send string, answers ...answer) *trial {
		t := l.add("act/"+name, send, answers...)
		t.to = "act"
		return t
	}
	for _, c := range []struct {
		path  string
		lines h
	}{
		{"/abort", nil},
		{"/abort", h{"content-type: application/grpc"}},
		{"/abort-grpc", nil},
		{"/abort-grpc", h{"content-type: application/grpc"}},
		{"/abort-none", nil},
		{"/abort-unsaid", nil},
		{"/delay", nil},
		{"/both", nil},
		{"/delay-timeout", nil},
		{"/headers", nil},
		{"/headers", h{"x-who: me"}},
		{"/cluster", nil},
		{"/other-cluster", nil},
		{"/nodes", nil},
		{"/nodes", h{"x-envoy-downstream-service-node: n1"}},
		{"/nodes", h{"x-envoy-downstream-service-node: n2"}},
		{"/none-active", nil},
		{"/asked", nil},
		{"/asked", h{"x-envoy-fault-abort-request: 505"}},
		{"/asked", h{"x-envoy-fault-abort-request: 199"}},
		{"/asked", h{"x-envoy-fault-abort-request: x"}},
		{"/asked", h{"x-envoy-fault-abort-grpc-request: 7"}},
		{"/asked", h{"x-envoy-fault-abort-grpc-request: 7", "content-type: application/grpc"}},
		{"/asked", h{"x-envoy-fault-abort-grpc-request: 0", "content-type: application/grpc"}},
		{"/asked", h{"x-envoy-fault-abort-request: 505", "x-envoy-fault-abort-request-percentage: 0"}},
		{"/asked", h{"x-envoy-fault-abort-request: 505", "x-envoy-fault-abort-request-percentage: x"}},
		{"/asked", h{"x-envoy-fault-delay-request: 80"}},
		{"/asked", h{"x-envoy-fault-delay-request: 80", "x-envoy-fault-delay-request-percentage: 0"}},
		{"/asked", h{"x-envoy-fault-delay-request: soon"}},
		{"/asked", h{"x-envoy-fault-delay-request: 80", "x-envoy-fault-abort-request: 505"}},
		{"/asked-half", h{"x-envoy-fault-abort-request: 505"}},
		{"/direct", nil},
		{"/weighted", nil},
		{"/switched", nil},
		{"/plain", nil},
	} {
		name := "fault " + c.path
		for _, line := range c.lines {
			name += ", " + line
		}
		add(name, at("fault.example", c.path, c.lines...))
	}
	add("fault delays a body", req("POST", "/delay", "content-length: 3")+"abc")
	l[len(l)-1].send = one(at("fault.example", "/delay", "content-length: 0"))
	add("fault and the downstream leaves", at("fault.example", "/delay")).after = "close"
	for _, path := range []string{"/own", "/off", "/empty", "/else"} {
		add("levels "+path, at("levels.example", path))
	}
	for _, path := range []string{"/denied", "/denied/open", "/denied/off", "/own", "/else"} {
		add("rbac "+path, at("rbac.example", path))
	}
	pages(add)
	mirrored(add)
	return l
}

// mirrored are trials of mirrors.
func mirrored(add func(name, send string, answers ...answer) *trial) {
	twice := func(name, send string, answers ...answer) {
		t := add("mirror "+name, send, answers...)
		t.anyOrder, t.settle = true, 120*time.Millisecond
	}
	for _, path := range []string{"/one", "/timeout", "/two", "/none", "/dead", "/of-dead", "/of-unknown", "/rewritten", "/direct", "/else"} {
		twice(path, at("mirror.example", path, "x-a: b", "cookie: c=d"))
		twice(path+" with a body", "POST"+at("mirror.example", path, "content-length: 5")[len("GET"):]+"hello")
		twice(path+" with chunks", "POST"+at("mirror.example", path, "transfer-encoding: chunked")[len("GET"):]+"5\r\nhello\r\n0\r\n\r\n")
	}
	for _, host := range []string{"mirror.example:81", "[::1]", "[::1]:80", "1.2.3.4:5", "MIRROR.example"} {
		twice("of "+host, at(host, "/one"))
	}
	twice("with addresses", at("mirror.example", "/one", "x-forwarded-for: 10.1.1.1", "x-envoy-internal: false"))
	twice("of HEAD", "HEAD"+at("mirror.example", "/one")[len("GET"):], says("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")...)
	twice("of grpc", "POST"+at("mirror.example", "/one", "content-type: application/grpc", "content-length: 2")[len("GET"):]+"ab")
	twice("of from inside", at("mirror.example", "/one", "x-forwarded-for: 10.9.1.1", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3", "x-envoy-upstream-rq-timeout-ms: 9000"))
}

// pages are trials of CORS.
func pages(add func(name, send string, answers ...answer) *trial) {
	type h = []string
	own := says("HTTP/1.1 200 OK\r\naccess-control-allow-origin: theirs\r\naccess-control-expose-headers: x-theirs\r\nx-a: b\r\ncontent-length: 2\r\n\r\nok")
	for _, path := range []string{"/all", "/full", "/stars", "/answering", "/forwarding", "/disabled", "/shadow", "/nobody", "/direct", "/down", "/plain"} {
		for _, origin := range []string{"", "https://one.example", "https://two.anything", "https://a.three.example", "https://evil.example", "*"} {
			lines := h{"x-first: 1"}
			if origin != "" {
				lines = h{"origin: " + origin}
			}
			if path != "/full" && (origin == "https://two.anything" || origin == "https://a.three.example") {
				continue
			}
			name := "cors " + path + " of " + origin
			add(name, at("cors.example", path, lines...), own...)
			preflight := append(lines, "access-control-request-method: PUT", "access-control-request-headers: x-q,x-r", "access-control-request-private-network: true")
			ask := "OPTIONS" + at("cors.example", path, preflight...)[len("GET"):]
			add(name+", preflight", ask, own...)
			if path == "/full" {
				add(name+", options", "OPTIONS"+at("cors.example", path, lines...)[len("GET"):], own...)
			}
		}
	}
	for _, path := range []string{"/own", "/else"} {
		add("cors levels "+path, at("corslevels.example", path, "origin: https://one.example"), own...)
		add("cors levels "+path+", preflight", "OPTIONS"+at("corslevels.example", path, "origin: https://one.example", "access-control-request-method: PUT")[len("GET"):], own...)
	}
}
