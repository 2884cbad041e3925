//go:build oracle

package oracle_test

import (
	"fmt"
	"time"
)

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
	retried(add)
	rewritten(add)
	limited(add)
	for _, path := range []string{"/formats", "/dead", "/direct"} {
		add("formats "+path, at("formats.example", path+"?q=1&r", "x-a: abcdef"), says("HTTP/1.1 200 OK\r\nx-there: yes\r\ncontent-length: 2\r\n\r\nok")...)
	}
	return l
}

// limited are trials of local rate limits: each bucket holds two tokens at most.
func limited(add func(name, send string, answers ...answer) *trial) {
	for _, path := range []string{"/two", "/unsaid", "/not-enforced", "/status", "/status-low", "/headers", "/else"} {
		one := at("limited.example", path)
		add("limit "+path, one+one+one).want = 3
	}
	for _, path := range []string{"/tell", "/tell-slow", "/direct"} {
		one := at("limited.example", path)
		add("limit "+path, one+one).want = 2
	}
	for _, path := range []string{"/grpc", "/grpc-exhausted"} {
		one := at("limited.example", path, "content-type: application/grpc")
		add("limit "+path, one+one+one).want = 3
	}
	t := add("limit /fills", "")
	one := at("limited.example", "/fills")
	t.send, t.want = []string{one + one}, 2
}

// rewritten are trials of rewrites, redirects and direct responses.
func rewritten(add func(name, send string, answers ...answer) *trial) {
	type h = []string
	for _, c := range []struct {
		path  string
		lines h
	}{
		{"/header/a?b", nil},
		{"/header", h{"x-to: new.example"}},
		{"/header", h{"x-to: "}},
		{"/header", h{"x-to: one.example", "x-to: two.example"}},
		{"/header", h{"x-to: new.example", "x-forwarded-host: old.example"}},
		{"/of-path/one/x?q=/two", nil},
		{"/of-path", nil},
		{"/auto/x", nil},
		{"/auto/x", h{"x-forwarded-host: rewrite.example"}},
		{"/auto-none", nil},
		{"/anycase/X?y", nil},
		{"/separated", nil},
		{"/separated/x", nil},
		{"/separatedx", nil},
		{"/exact?q=1", nil},
		{"/regex/aeb?q=a", nil},
		{"/regex", nil},
	} {
		name := "rewrite " + c.path
		for _, line := range c.lines {
			name += ", " + line
		}
		add(name, at("rewrite.example", c.path, c.lines...))
	}
	for i := range 14 {
		path := fmt.Sprintf("/redirect/%d/", i)
		add("redirect "+path, at("rewrite.example", path))
		add("redirect "+path+" with query", at("rewrite.example:80", path+"x?q=1&r"))
		add("redirect "+path+" from https", at("rewrite.example:443", path+"x?q", "x-forwarded-proto: https"))
	}
	for i := range 6 {
		path := fmt.Sprintf("/direct/%d", i)
		add("direct "+path, at("rewrite.example", path+"?q"))
		add("direct "+path+" of HEAD", "HEAD"+at("rewrite.example", path)[len("GET"):])
		add("direct "+path+" of grpc", at("rewrite.example", path, "content-type: application/grpc"))
	}
}

// retried are trials of retry policies, and of the headers by which callers from inside
// change them.
func retried(add func(name, send string, answers ...answer) *trial) {
	status := func(code, lines string) answer {
		return answer{parts: []string{"HTTP/1.1 " + code + "\r\n" + lines + "content-length: 1\r\n\r\nx"}}
	}
	fine := answer{parts: []string{hello}}
	for _, on := range []string{"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable", "http3-post-connect-failure", "nonsense", "gateway-error,retriable-4xx"} {
		for _, c := range []struct {
			name string
			a    answer
		}{
			{"500", status("500 No", "")},
			{"503", status("503 No", "")},
			{"409", status("409 No", "")},
			{"429", status("429 No", "")},
			{"limited", status("429 No", "x-envoy-ratelimited: true\r\n")},
			{"limited 503", status("503 No", "x-envoy-ratelimited: true\r\n")},
			{"reset", answer{end: "reset"}},
			{"cut", answer{end: "close"}},
			{"grpc 1", status("200 OK", "grpc-status: 1\r\n")},
			{"grpc 4", status("200 OK", "grpc-status: 4\r\n")},
			{"grpc 8", status("200 OK", "grpc-status: 8\r\n")},
			{"grpc 13", status("200 OK", "grpc-status: 13\r\n")},
			{"grpc 14", status("200 OK", "grpc-status: 14\r\n")},
		} {
			// What is not safe to repeat is repeated by the policy alone.
			add("retry on "+on+" of "+c.name, "POST"+at("retry.example", "/on/"+on, "content-length: 0")[len("GET"):], c.a, c.a, fine)
		}
		add("retry on "+on+" of dead", at("retry.example", "/dead/"+on))
		add("retry on "+on+" always", at("retry.example", "/on/"+on), status("503 No", ""))
	}
	path := func(p string, lines ...string) string { return at("retry.example", p, lines...) }
	inside := "x-forwarded-for: 10.9.1.1"
	outside := "x-forwarded-for: 10.8.1.1"
	for _, code := range []string{"418 No", "200 OK", "500 No", "419 No"} {
		add("retry codes of "+code, path("/codes"), status(code, ""), fine)
		add("retry headers of "+code, path("/headers"), status(code, ""), fine)
	}
	add("retry headers say yes", path("/headers"), status("200 OK", "x-again: yes\r\n"), fine)
	add("retry headers say no", path("/headers"), status("200 OK", "x-again: no\r\n"), fine)
	add("retry headers are there", path("/headers"), status("200 OK", "x-must: \r\n"), fine)
	add("retry request headers are there", path("/request-headers", "x-may: 1"), status("500 No", ""), fine)
	add("retry request headers are not there", path("/request-headers"), status("500 No", ""), fine)
	add("retry request headers, method", "PUT"+path("/request-headers")[len("GET"):], status("500 No", ""), fine)
	slow := answer{parts: []string{hello}, wait: 250 * time.Millisecond}
	for _, p := range []string{"/per-try", "/per-try-reset", "/per-try-no", "/try-idle", "/try-idle-no"} {
		add("retry "+p, path(p), slow, fine).settle = 300 * time.Millisecond
		add("retry "+p+" always", path(p), slow).settle = 300 * time.Millisecond
		add("retry "+p+" within the body", path(p), answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhel", "lo", "!"}}, fine)
	}
	add("retry limited", path("/limited"), status("503 No", "retry-after: 1\r\n"), fine).quiet = 3 * time.Second
	add("retry limited too long", path("/limited"), status("503 No", "retry-after: 20\r\n"), fine).quiet = 3 * time.Second
	add("retry limited in the past", path("/limited"), status("503 No", "x-reset: 1000\r\n"), fine).quiet = 3 * time.Second
	add("control max stream duration", path("/long"), slow).settle = 300 * time.Millisecond
	add("control max stream duration of grpc", path("/long", "content-type: application/grpc"), slow).settle = 300 * time.Millisecond
	add("control max stream duration of an unfinished request", "POST"+path("/long", "content-length: 5")[len("GET"):]+"abc", slow).settle = 300 * time.Millisecond
	for _, p := range []string{"/default", "/zero"} {
		add("retry "+p, path(p), status("500 No", ""))
	}
	for _, who := range []struct{ name, line string }{{"inside", inside}, {"outside", outside}} {
		for _, c := range []struct {
			name  string
			lines []string
			a     answer
		}{
			{"retry-on", []string{"x-envoy-retry-on: 5xx"}, status("500 No", "")},
			{"retry-on nonsense", []string{"x-envoy-retry-on: nonsense"}, status("500 No", "")},
			{"retry-grpc-on", []string{"x-envoy-retry-grpc-on: unavailable"}, status("200 OK", "grpc-status: 14\r\n")},
			{"max-retries", []string{"x-envoy-retry-on: 5xx", "x-envoy-max-retries: 2"}, status("500 No", "")},
			{"max-retries junk", []string{"x-envoy-retry-on: 5xx", "x-envoy-max-retries: many"}, status("500 No", "")},
			{"max-retries alone", []string{"x-envoy-max-retries: 2"}, status("500 No", "")},
			{"codes", []string{"x-envoy-retry-on: retriable-status-codes", "x-envoy-retriable-status-codes: 418, 419"}, status("419 No", "")},
			{"names", []string{"x-envoy-retry-on: retriable-headers", "x-envoy-retriable-header-names: X-One, x-two"}, status("200 OK", "x-two: 1\r\n")},
			{"timeout", []string{"x-envoy-upstream-rq-timeout-ms: 100"}, slow},
			{"timeout zero", []string{"x-envoy-upstream-rq-timeout-ms: 0"}, slow},
			{"timeout junk", []string{"x-envoy-upstream-rq-timeout-ms: soon"}, slow},
			{"timeout answered otherwise", []string{"x-envoy-upstream-rq-timeout-ms: 100", "x-envoy-upstream-rq-timeout-alt-response: 1"}, slow},
			{"per try", []string{"x-envoy-retry-on: 5xx", "x-envoy-upstream-rq-per-try-timeout-ms: 100"}, slow},
			{"per try above all", []string{"x-envoy-upstream-rq-timeout-ms: 100", "x-envoy-upstream-rq-per-try-timeout-ms: 5000"}, slow},
			{"stream duration", []string{"x-envoy-upstream-stream-duration-ms: 100"}, slow},
			{"expected", []string{"x-envoy-expected-rq-timeout-ms: 77"}, fine},
			{"attempts", []string{"x-envoy-attempt-count: 7"}, fine},
			{"hedge", []string{"x-envoy-hedge-on-per-try-timeout: true"}, fine},
		} {
			add("control "+who.name+" "+c.name, path("/plain", append([]string{who.line}, c.lines...)...), c.a, c.a, fine).settle = 300 * time.Millisecond
		}
	}
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
