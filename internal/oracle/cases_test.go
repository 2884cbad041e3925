//go:build oracle

package oracle_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

func trials() []trial {
	return slices.Concat(requests(), configured(), responses(), malformed(), replies(), bodies(), upgrades(), connects(), timeouts(), tcps(), probes(), acts(), http2s())
}

// get is a plain request with more header lines.
func get(path string, lines ...string) string { return req("GET", path, lines...) }

func req(method, path string, lines ...string) string {
	h := method + " " + path + " HTTP/1.1\r\nhost: a.example\r\n"
	for _, l := range lines {
		h += l + "\r\n"
	}
	return h + "\r\n"
}

func at(host, path string, lines ...string) string {
	return strings.Replace(get(path, lines...), "a.example", host, 1)
}

func one(s string) []string { return []string{s} }

func says(parts ...string) []answer { return []answer{{parts: parts}} }

type list []trial

func (l *list) add(name, send string, answers ...answer) *trial {
	*l = append(*l, trial{name: name, send: one(send), answers: answers})
	return &(*l)[len(*l)-1]
}

func requests() []trial {
	var l list
	type h = []string
	lines := []struct {
		name  string
		lines []string
	}{
		{"nothing", nil},
		{"usual", h{"User-Agent: curl/8", "Accept: */*", "Accept-Encoding: gzip", "Cookie: a=1; b=2", "Referer: http://x.example/y", "Cache-Control: no-cache"}},
		{"order with case", h{"X-B: 1", "X-A: 2", "x-B: 3", "X-C:4", "X-D:  5  ", "X-Empty:", "X-Space: a  b\tc"}},
		{"xff one", h{"X-Forwarded-For: 10.1.1.1"}},
		{"xff two", h{"X-Forwarded-For: 10.1.1.1, 10.2.2.2"}},
		{"xff repeated", h{"X-Forwarded-For: 10.1.1.1", "x-a: b", "X-Forwarded-For: 10.2.2.2"}},
		{"xff port", h{"X-Forwarded-For: 10.1.1.1:99"}},
		{"xff junk", h{"X-Forwarded-For: junk"}},
		{"xff empty", h{"X-Forwarded-For:"}},
		{"xff v6", h{"X-Forwarded-For: 2001:db8::1"}},
		{"xff trailing comma", h{"X-Forwarded-For: 10.1.1.1,"}},
		{"xfp https", h{"X-Forwarded-Proto: https"}},
		{"xfp junk", h{"X-Forwarded-Proto: junk"}},
		{"xfp upper", h{"X-Forwarded-Proto: HTTPS"}},
		{"xfp empty", h{"X-Forwarded-Proto:"}},
		{"xfp twice", h{"X-Forwarded-Proto: https", "X-Forwarded-Proto: http"}},
		{"x-forwarded-host", h{"X-Forwarded-Host: h.example", "x-forwarded-port: 99"}},
		{"xfcc", h{"X-Forwarded-Client-Cert: By=spiffe://x;Hash=1"}},
		{"xfcc twice", h{"X-Forwarded-Client-Cert: By=spiffe://x;Hash=1", "x-a: b", "X-Forwarded-Client-Cert: By=spiffe://y;Hash=2"}},
		{"request id uuid", h{"X-Request-Id: 6ba7b810-9dad-11d1-80b4-00c04fd430c8"}},
		{"request id text", h{"X-Request-Id: mine"}},
		{"request id empty", h{"X-Request-Id:"}},
		{"request id twice", h{"X-Request-Id: a", "X-Request-Id: b"}},
		{"te trailers", h{"TE: trailers"}},
		{"te gzip", h{"TE: gzip"}},
		{"te mixed", h{"TE: trailers, deflate;q=0.5"}},
		{"te Trailers spaced", h{"TE:  Trailers "}},
		{"connection keep-alive", h{"Connection: keep-alive", "Keep-Alive: timeout=5"}},
		{"connection nominates", h{"X-Hop: 1", "Connection: x-hop", "X-Stay: 2"}},
		{"connection nominates several", h{"X-Hop: 1", "X-Hop2: 1", "Connection: x-hop, X-Hop2", "X-Stay: 2"}},
		{"connection nominates authorization", h{"Authorization: secret", "Connection: authorization"}},
		{"connection nominates host", h{"Connection: host"}},
		{"connection nominates xff", h{"x-forwarded-for: 1.2.3.4", "Connection: x-forwarded-for"}},
		{"connection nominates xfp", h{"Connection: x-forwarded-proto"}},
		{"connection nominates te", h{"TE: trailers", "Connection: te"}},
		{"connection nominates te other", h{"TE: gzip", "Connection: te"}},
		{"connection nominates ten", h{"Connection: a,b,c,d,e,f,g,h,i,j,k"}},
		{"connection nominates nine", h{"Connection: a,b,c,d,e,f,g,h,i"}},
		{"connection nominates pseudo", h{"Connection: :path"}},
		{"connection twice", h{"X-Hop: 1", "x-hop2: 2", "Connection: x-hop", "Connection: x-hop2"}},
		{"connection close", h{"Connection: close"}},
		{"connection Close mixed", h{"X-Hop: 1", "Connection: CLOSE, x-hop"}},
		{"connection nominates content-length", h{"Connection: content-length"}},
		{"connection nominates x-request-id", h{"X-Request-Id: mine", "Connection: x-request-id"}},
		{"connection nominates xfcc", h{"X-Forwarded-Client-Cert: By=spiffe://x;Hash=1", "Connection: x-forwarded-client-cert"}},
		{"proxy-connection", h{"Proxy-Connection: keep-alive", "Proxy-Authorization: Basic x", "proxy-authenticate: x"}},
		{"keep-alive alone", h{"Keep-Alive: timeout=5"}},
		{"trailer header", h{"Trailer: x-t"}},
		{"http2-settings", h{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"}},
		{"referer invalid", h{"Referer: not a url"}},
		{"referer twice", h{"Referer: http://a.example/", "Referer: http://b.example/"}},
		{"referer query and fragment", h{"Referer: http://a.example/?x#y"}},
		{"content-length zero", h{"Content-Length: 0"}},
		{"grpc", h{"Content-Type: application/grpc", "TE: trailers", "grpc-timeout: 1S"}},
		{"grpc bad timeout", h{"Content-Type: application/grpc", "grpc-timeout: soon"}},
		{"via forwarded", h{"Via: 1.1 x", "Forwarded: for=1.2.3.4"}},
		{"b3", h{"x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124", "x-b3-spanid: a2fb4a1d1a96d312", "x-b3-sampled: 1", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-01", "x-ot-span-context: x", "x-client-trace-id: ab"}},
		{"cookies repeated", h{"Cookie: a=1", "x-a: b", "Cookie: b=2"}},
		{"accept repeated", h{"Accept: a/b", "x-a: b", "Accept: c/d"}},
		{"content-type repeated", h{"Content-Type: a/b", "Content-Type: c/d"}},
		{"user-agent repeated", h{"User-Agent: a", "User-Agent: b"}},
		{"user-agent empty", h{"User-Agent:"}},
		{"underscores", h{"X_Under: 1", "a_b: 2"}},
		{"odd token", h{"X!#$%&'*+.^`|~: 1"}},
		{"high bytes", h{"X-High: \xc3\xa9\xff", "x-quote: \"\\"}},
		{"user agent escapes", h{"User-Agent: a\"b\\c\xc3\xa9\tz"}},
		{"long value", h{"X-Long: " + strings.Repeat("v", 20000)}},
		{"decorator", h{"x-envoy-decorator-operation: spoof"}},
		{"peer metadata", h{"x-envoy-peer-metadata: abc", "x-envoy-peer-metadata-id: id"}},
		{"priority", h{"Priority: u=1", "early-data: 1", "alt-used: x"}},
		{"original path spoof", h{"x-envoy-original-path: /admin", "x-envoy-original-host: evil", "x-envoy-original-url: /z", "x-envoy-original-dst-host: 127.0.0.1:1"}},
	}
	for _, name := range []string{
		"internal", "retriable-status-codes", "retriable-header-names", "retry-on", "retry-grpc-on", "max-retries", "upstream-alt-stat-name",
		"upstream-rq-timeout-ms", "upstream-rq-per-try-timeout-ms", "upstream-rq-timeout-alt-response", "expected-rq-timeout-ms", "force-trace",
		"ip-tags", "hedge-on-per-try-timeout", "external-address", "downstream-service-cluster", "downstream-service-node", "attempt-count",
		"is-timeout-retry", "upstream-service-time", "upstream-canary", "immediate-health-check-fail", "overloaded", "ratelimited", "degraded",
		"upstream-healthchecked-cluster", "fault-abort-request", "fault-delay-request", "auth-failure-mode-allowed", "upstream-stream-duration-ms", "local-overloaded", "only-unknown",
	} {
		lines = append(lines, struct {
			name  string
			lines []string
		}{"x-envoy-" + name, h{"x-first: 1", "x-envoy-" + name + ": 1", "x-last: 1"}})
	}
	for _, to := range []string{"out", "in", "intls", "timeouts"} {
		for _, c := range lines {
			if to == "intls" && !strings.Contains(c.name, "xf") && c.name != "usual" && c.name != "nothing" && !strings.Contains(c.name, "nominates") {
				continue
			}
			l.add("request/"+to+"/"+c.name, get("/x", c.lines...)).to = to
		}
	}
	for _, m := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "FOO", "get", "M-SEARCH", "QUERY", "CONNECT", "HEAD", "A!B", "SOURCE", "PRI", "BREW"} {
		l.add("method/"+m, req(m, "/x"))
		l.add("method with body/"+m, req(m, "/x", "content-length: 3")+"abc")
	}
	for _, p := range []string{
		"/", "//", "//a//b", "/a/../b", "/a/./b", "/../..", "/a/%2e%2e/b", "/a/%2E/b", "/%2f", "/a%2Fb", "/a%5cb", "/a\\b", "/\\..\\x", "/%41%7e%2d%5f", "/%c3%a9", "/\xc3\xa9", "/%zz", "/%", "/%0", "/%00",
		"/a%0ab", "/a;b=c", "/a?b=c/../d", "/a?x=%2e%2e", "/a#frag", "/a?q#frag", "/a%23b", "/a%3fb", "/a+b", "/a b", "/a%20b", "/a|b", "/a\"b", "/a<b>", "/a{b}", "/a^b`c", "/a'b", "/a*b(c)!$&,:=@~", "*", "a", "", "?x", "/?", "/..", "/.", "/a/..", "/a/.", "/a/../../b/", "/.../a", "/a..b/", "/a/%2e%2e%2fb", "/a/..%2fb", "/a/..;/b", "/a/\t", "/\x7f", "/a\x01",
		"http://abs.example/p?q", "http://abs.example", "http://abs.example/../x", "HTTP://ABS.example/p", "https://abs.example/p", "ftp://abs.example/p", "http://user@abs.example/p", "http://abs.example:81/p", "http:///p", "http://", "http://[::1]:80/p", "abs.example:80", "http://abs.example#f", "http://abs.example?x=1", "ws://abs.example/p", "//abs.example/p",
		"/long" + strings.Repeat("x", 9000), "/redirect?x=1", "/%e4%bd%a0", "/A/%2E%2E/B", "/a//../b", "/a/b/..//c", "/./", "/%2e", "/%2e%2e/", "/a/%2e?x",
	} {
		l.add("path/"+clip(p), get(p))
	}
	for _, p := range []string{"/a%2fb", "/a%5cb", "//a//b/", "/a//..//b", "/a%2F..%2Fb?x=%2f", "/%2f%2f"} {
		l.add("path redirecting/"+p, get(p)).to = "timeouts"
		l.add("path redirecting grpc/"+p, get(p, "content-type: application/grpc")).to = "timeouts"
	}
	for _, hostValue := range []string{
		"a.example", "A.EXAMPLE", "a.example:80", "a.example:8080", "1.2.3.4", "[::1]", "[::1]:80", "::1", "a.example.", "", " ", "a b", "a/b", "a@b", "a_b", "a,b", "a%41", "\xc3\xa9", "a\"b", "a:b", "a.example:", ":80", "a.example:99999", "one.example", "ONE.example:81", "-a", "a<b", "a\\b", "a?b", "a#b", "user:pw@a", "a;b", "a'b", "a(b)", "*", "~",
	} {
		l.add("host/"+hostValue, at(hostValue, "/one"))
	}
	l.add("host twice", "GET / HTTP/1.1\r\nhost: a.example\r\nhost: b.example\r\n\r\n")
	l.add("host twice equal", "GET / HTTP/1.1\r\nhost: a.example\r\nhost: a.example\r\n\r\n")
	l.add("host missing", "GET / HTTP/1.1\r\nx: y\r\n\r\n")
	l.add("host last", "GET / HTTP/1.1\r\nx-a: y\r\nhost: a.example\r\nx-b: z\r\n\r\n")
	l.add("absolute with other host", "GET http://abs.example/p HTTP/1.1\r\nx-a: 1\r\nhost: other.example\r\n\r\n")
	l.add("absolute without host", "GET http://abs.example/p HTTP/1.1\r\nx-a: 1\r\n\r\n")
	for _, v := range []string{"HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/1", "http/1.1", "HTTP/1.10", "HTTP/1.1 ", "HTP/1.1", "", "HTTP/3.0", "HTTP/01.1"} {
		l.add("version/"+v, "GET /x "+v+"\r\nhost: a.example\r\n\r\n")
		l.add("version accepting ten/"+v, "GET /x "+v+"\r\nhost: a.example\r\n\r\n").to = "timeouts"
	}
	l.add("ten without host", "GET /x HTTP/1.0\r\n\r\n").to = "timeouts"
	l.add("ten keep-alive", "GET /x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").to = "timeouts"
	l.add("ten post", "POST /x HTTP/1.0\r\nhost: a\r\ncontent-length: 2\r\n\r\nab").to = "timeouts"
	l.add("ten chunked answer", "GET /x HTTP/1.0\r\nhost: a\r\n\r\n", answer{parts: []string{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"}}).to = "timeouts"
	t := l.add("pipelined", get("/1")+get("/2")+req("POST", "/3", "content-length: 2")+"ab"+get("/4"))
	t.want = 4
	t = l.add("pipelined then close", get("/1")+get("/2", "connection: close")+get("/3"))
	t.want = 2
	t = l.add("pipelined with chunks", req("POST", "/1", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n"+req("POST", "/2", "content-length: 2")+"ab"+req("HEAD", "/3")+get("/4"), answer{parts: []string{hello}}, answer{parts: []string{hello}}, answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"}}, answer{parts: []string{hello}})
	t.want = 3
	t = l.add("pipelined while the origin is slow", get("/1")+get("/2")+get("/3"), answer{parts: []string{hello}, wait: 100 * time.Millisecond})
	t.want = 3
	t = l.add("pipelined in parts", "")
	t.send, t.want = []string{get("/1") + "GET /2 HT", "TP/1.1\r\nhost: a.ex", "ample\r\n\r\n" + get("/3")}, 3
	t = l.add("pipelined with an error between", get("/1")+"GET /2 HTTP/1.1\r\nhost: a b\r\n\r\n"+get("/3"))
	t.want = 2
	t = l.add("pipelined and the origin closes", get("/noretry")+get("/noretry/2"), answer{parts: []string{"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"}, end: "close"}, answer{parts: []string{hello}})
	t.want = 2
	t = l.add("pipelined with early close", get("/1", "connection: close")+get("/2"))
	t.want = 1
	t = l.add("pipelined direct replies", get("/direct")+get("/x")+get("/direct-empty"))
	t.want = 3
	for _, to := range []string{"out", "timeouts"} {
		l.add("ten/chunked request in "+to, "POST /x HTTP/1.0\r\nhost: a\r\ncontent-length: 0\r\n\r\n").to = to
		l.add("ten/keep-alive twice in "+to, "GET /1 HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n"+"GET /2 HTTP/1.0\r\nhost: a\r\n\r\n").to = to
		l[len(l)-1].want = 2
		l.add("ten/head in "+to, "HEAD /x HTTP/1.0\r\nhost: a\r\n\r\n", answer{parts: []string{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"}}).to = to
		l.add("ten/unknown length in "+to, "GET /x HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n", answer{parts: []string{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"}}).to = to
		l.add("ten/early hints in "+to, "GET /x HTTP/1.0\r\nhost: a\r\n\r\n", says("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"+hello)...).to = to
		l.add("trailers/request in "+to, req("POST", "/b", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\nX-T: 1\r\nX-T: 2\r\n\r\n").to = to
		l.add("trailers/response in "+to, get("/b"), says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n")...).to = to
		l.add("connect/in "+to, "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\nearly").to = to
		l.add("connect/without host in "+to, "CONNECT a.example:443 HTTP/1.1\r\n\r\n").to = to
		l.add("connect/without port in "+to, "CONNECT a.example HTTP/1.1\r\nhost: a.example\r\n\r\n").to = to
		l.add("query/with content type in "+to, req("QUERY", "/x", "content-type: a/b", "content-length: 2")+"ab").to = to
	}
	l.add("empty lines first", "\r\n\r\n"+get("/x"))
	l.add("many empty lines first", strings.Repeat("\r\n", 20)+get("/x"))
	return l
}

func clip(s string) string {
	if len(s) > 60 {
		s = s[:60]
	}
	return fmt.Sprintf("%q", s)
}

func configured() []trial {
	var l list
	for _, c := range []struct {
		name, host, path string
		lines            []string
	}{
		{"edits bare", "edits.example", "/a/b?c", nil},
		{"edits full", "edits.example", "/a/b?c", []string{"x-over: own", "x-absent: own", "x-exists: own", "x-gone: 1", "x-gone-vh: 1", "accept: */*", "user-agent: u", "x-route: own", "x-vh: own", "cookie: own=1", "x-last: z"}},
		{"edits repeated", "edits.example", "/a", []string{"x-over: 1", "x-over: 2", "x-exists: 1", "x-b: 1", "x-exists: 2", "x-last: z"}},
		{"weighted", "edits.example", "/weighted/x", []string{"x-gone-w: 1", "x-w: own"}},
		{"one", "one.example", "/one?x", nil},
		{"one misses", "one.example", "/two", nil},
	} {
		l.add("edits/"+c.name, at(c.host, c.path, c.lines...), says("HTTP/1.1 200 Fine\r\nServer: theirs\r\nX-Resp-Gone: 1\r\nx-resp-gone-w: 1\r\nX-Resp-Gone-Route: 1\r\nx-resp: own\r\nx-resp-w: own\r\nset-cookie: own=1\r\nx-there: yes\r\nx-level: own\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\ncontent-length: 2\r\n\r\nok")...)
	}
	for _, p := range []string{
		"/direct", "/direct-empty", "/direct-204", "/direct-201?a=b", "/direct-302?a=b", "/direct-json", "/redirect?a=b", "/redirect-https?a=b", "/redirect-port?a", "/redirect-prefix/rest?a=b", "/redirect-prefix",
		"/redirect-query?a=b", "/redirect-strip?a=b", "/rewrite/a?b", "/rewrite/", "/rewrite", "/rewrite-root", "/rewrite-root/a?b=c", "/regex/one/two?three=/regex/a/b", "/regex/one", "/full/a?b", "/host?x", "/x?kind=special", "/x?a&kind=special", "/x?kind=other&kind=special",
	} {
		for _, m := range []string{"GET", "HEAD", "POST"} {
			s := req(m, p)
			if m == "POST" {
				s = req(m, p, "content-length: 3") + "abc"
			}
			l.add("route/"+m+" "+p, s)
		}
		l.add("route/grpc "+p, req("POST", p, "content-type: application/grpc", "content-length: 3")+"abc")
		l.add("route/host with port "+p, at("a.example:80", p))
		l.add("route/host with port 443 forwarded https "+p, at("a.example:443", p, "x-forwarded-proto: https"))
	}
	l.add("route/header", get("/x", "x-kind: special"))
	l.add("route/header twice", get("/x", "x-kind: special", "x-kind: other"))
	l.add("route/host append", get("/host", "x-forwarded-host: a.example"))
	l.add("route/host append other", get("/host", "x-forwarded-host: z.example"))
	l.add("route/direct with unread body", req("POST", "/direct", "content-length: 1000")+"abc")
	l.add("route/direct with chunked body", req("POST", "/direct", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n")
	l.add("route/direct close", get("/direct", "connection: close"))
	return l
}

func responses() []trial {
	var l list
	cases := []struct {
		name, text, end string
	}{
		{"reason", "HTTP/1.1 200 Very Fine\r\ncontent-length: 0\r\n\r\n", ""},
		{"no reason", "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", ""},
		{"no reason no space", "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", ""},
		{"unknown status", "HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"unknown status 799", "HTTP/1.1 799 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"status 999", "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"status 600", "HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"status 000", "HTTP/1.1 000 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"status 099", "HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"status 20", "HTTP/1.1 20 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"status 2000", "HTTP/1.1 2000 Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"status text", "HTTP/1.1 abc Odd\r\ncontent-length: 0\r\n\r\n", ""},
		{"reason high", "HTTP/1.1 200 \xc3\xa9\r\ncontent-length: 0\r\n\r\n", ""},
		{"reason ctl", "HTTP/1.1 200 a\x01b\r\ncontent-length: 0\r\n\r\n", ""},
		{"headers kept", "HTTP/1.1 200 OK\r\nX-B: 1\r\nContent-Type: text/html\r\nX-A: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-B: 3\r\nVary: a\r\nVary: b\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok", ""},
		{"server and date", "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-Last: 1\r\nContent-Length: 2\r\n\r\nok", ""},
		{"server twice", "HTTP/1.1 200 OK\r\nServer: a\r\nServer: b\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nDate: x\r\nContent-Length: 2\r\n\r\nok", ""},
		{"empty date", "HTTP/1.1 200 OK\r\nDate:\r\nServer:\r\nContent-Length: 2\r\n\r\nok", ""},
		{"hop by hop", "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTE: x\r\nTrailer: x-t\r\nproxy-authenticate: Basic\r\nContent-Length: 2\r\n\r\nok", ""},
		{"connection close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "close"},
		{"envoy headers", "HTTP/1.1 200 OK\r\nx-envoy-upstream-service-time: 77\r\nx-envoy-decorator-operation: op\r\nx-envoy-peer-metadata: m\r\nx-envoy-peer-metadata-id: i\r\nx-envoy-attempt-count: 3\r\nx-envoy-upstream-canary: true\r\nx-envoy-immediate-health-check-fail: 1\r\nx-envoy-overloaded: true\r\nx-request-id: theirs\r\nContent-Length: 2\r\n\r\nok", ""},
		{"location", "HTTP/1.1 302 Found\r\nLocation: http://a.example/x\r\nContent-Length: 0\r\n\r\n", ""},
		{"no length keep", "HTTP/1.1 200 OK\r\n\r\n", "close"},
		{"close delimited", "HTTP/1.1 200 OK\r\n\r\nbody until close", "close"},
		{"close delimited empty with content-type", "HTTP/1.1 200 OK\r\ncontent-type: a/b\r\n\r\n", "fin"},
		{"close delimited reset", "HTTP/1.1 200 OK\r\n\r\nbody until reset", "reset"},
		{"ten", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "close"},
		{"ten keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", ""},
		{"ten close delimited", "HTTP/1.0 200 OK\r\n\r\nok", "close"},
		{"ten chunked", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "close"},
		{"version 1.2", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", "close"},
		{"version 2", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "close"},
		{"version 0.9", "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok", "close"},
		{"not http", "SSH-2.0-OpenSSH\r\n", "close"},
		{"icy", "ICY 200 OK\r\n\r\n", "close"},
		{"garbage", "\x15\x03\x01\x00\x02\x02\x28", "close"},
		{"empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"204 with length zero", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", ""},
		{"204 with length", "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc", ""},
		{"204 chunked", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		{"304", "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", ""},
		{"304 with length", "HTTP/1.1 304 Not Modified\r\ncontent-length: 300\r\n\r\n", ""},
		{"205", "HTTP/1.1 205 Reset\r\ncontent-length: 0\r\n\r\n", ""},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""},
		{"chunked upper", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", ""},
		{"chunked trailers", "HTTP/1.1 200 OK\r\nTrailer: x-t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", ""},
		{"chunked empty", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		{"chunk extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0;x\r\n\r\n", ""},
		{"chunk bad size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", "close"},
		{"chunk missing crlf", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX0\r\n\r\n", "close"},
		{"chunk cut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", "close"},
		{"chunk cut before end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "close"},
		{"gzip chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "close"},
		{"te gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", "close"},
		{"te identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\ncontent-length: 2\r\n\r\nok", ""},
		{"te and length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", "close"},
		{"lengths differ", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc", "close"},
		{"lengths equal", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", "close"},
		{"length list", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "close"},
		{"length junk", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nok", "close"},
		{"length plus", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", "close"},
		{"length empty", "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nok", "close"},
		{"length huge", "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok", "close"},
		{"length too long", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", "close"},
		{"length too long reset", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", "reset"},
		{"length too short", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokmore", ""},
		{"100 first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""},
		{"102 first", "HTTP/1.1 102 Processing\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""},
		{"103 first", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nServer: s\r\nconnection: x-h\r\nx-h: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""},
		{"104 first", "HTTP/1.1 104 Upload\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""},
		{"110 first", "HTTP/1.1 110 Odd\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""},
		{"100 twice", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""},
		{"103 flood", strings.Repeat("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", 30) + "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""},
		{"100 with length", "HTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "close"},
		{"101 unasked", "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nstuff", "close"},
		{"only 100", "HTTP/1.1 100 Continue\r\n\r\n", "close"},
		{"close at once", "", "close"},
		{"reset at once", "", "reset"},
		{"fin at once", "", "fin"},
		{"close in head", "HTTP/1.1 200 OK\r\nx-a:", "close"},
		{"reset in head", "HTTP/1.1 200 OK\r\nx-a:", "reset"},
		{"close in status line", "HTTP/1.1", "close"},
		{"header space before colon", "HTTP/1.1 200 OK\r\nX-A : b\r\ncontent-length: 0\r\n\r\n", "close"},
		{"header no colon", "HTTP/1.1 200 OK\r\njunk\r\ncontent-length: 0\r\n\r\n", "close"},
		{"header empty name", "HTTP/1.1 200 OK\r\n: x\r\ncontent-length: 0\r\n\r\n", "close"},
		{"header nul", "HTTP/1.1 200 OK\r\nx-a: a\x00b\r\ncontent-length: 0\r\n\r\n", "close"},
		{"header ctl", "HTTP/1.1 200 OK\r\nx-a: a\x01b\r\ncontent-length: 0\r\n\r\n", "close"},
		{"header del", "HTTP/1.1 200 OK\r\nx-a: a\x7fb\r\ncontent-length: 0\r\n\r\n", "close"},
		{"header high", "HTTP/1.1 200 OK\r\nx-a: a\xffb\r\ncontent-length: 0\r\n\r\n", ""},
		{"header lone cr", "HTTP/1.1 200 OK\r\nx-a: a\rb\r\ncontent-length: 0\r\n\r\n", "close"},
		{"header fold", "HTTP/1.1 200 OK\r\nx-a: a\r\n  b\r\ncontent-length: 0\r\n\r\n", ""},
		{"bare lf", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok", "close"},
		{"header bad name", "HTTP/1.1 200 OK\r\nx(a): b\r\ncontent-length: 0\r\n\r\n", "close"},
		{"head 59k", "HTTP/1.1 200 OK\r\nx-a: " + strings.Repeat("v", 58000) + "\r\ncontent-length: 0\r\n\r\n", ""},
		{"head 70k", "HTTP/1.1 200 OK\r\nx-a: " + strings.Repeat("v", 70000) + "\r\ncontent-length: 0\r\n\r\n", "close"},
		{"headers 99", "HTTP/1.1 200 OK\r\n" + strings.Repeat("x-a: b\r\n", 98) + "content-length: 0\r\n\r\n", ""},
		{"headers 100", "HTTP/1.1 200 OK\r\n" + strings.Repeat("x-a: b\r\n", 99) + "content-length: 0\r\n\r\n", ""},
		{"headers 101", "HTTP/1.1 200 OK\r\n" + strings.Repeat("x-a: b\r\n", 100) + "content-length: 0\r\n\r\n", "close"},
		{"grpc trailers-only", "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n", ""},
		{"two responses", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad", ""},
		{"400", "HTTP/1.1 400 Bad\r\ncontent-length: 3\r\n\r\nbad", ""},
		{"503", "HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nbad", ""},
		{"426", "HTTP/1.1 426 Upgrade Required\r\nupgrade: x\r\nconnection: upgrade\r\ncontent-length: 3\r\n\r\nbad", ""},
		{"content-encoding", "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nvary: *\r\nccc: 1\r\ncontent-length: 2\r\n\r\nok", ""},
		{"body 100k", "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + strings.Repeat("b", 100000), ""},
	}
	for _, c := range cases {
		for _, m := range []string{"GET", "HEAD"} {
			if m == "HEAD" && !strings.Contains("reason|headers kept|close delimited|chunked|204|304|304 with length|length too long|te and length|chunked trailers|101 unasked|100 first|no length keep|lengths equal", c.name) {
				continue
			}
			t := l.add("response/"+m+" "+c.name, req(m, "/noretry"), answer{parts: []string{c.text}, end: c.end})
			t.quiet = 400 * time.Millisecond
			t.settle = 15 * time.Millisecond
			if m == "HEAD" {
				t.settle = 30 * time.Millisecond
			}
		}
	}
	for _, c := range []string{"server and date", "server twice", "empty date", "hop by hop", "envoy headers", "100 first", "103 first", "chunked trailers"} {
		i := slices.IndexFunc(cases, func(x struct{ name, text, end string }) bool { return x.name == c })
		for _, to := range []string{"in", "timeouts"} {
			l.add("response "+to+"/"+c, get("/x"), answer{parts: []string{cases[i].text}, end: cases[i].end}).to = to
		}
	}
	l.add("response/slow parts", get("/noretry"), says("HTTP/1.1 200 OK\r\nconte", "nt-length: 10\r\n", "\r\n01234", "56789")...)
	l.add("response/chunk parts", get("/noretry"), says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n", "5\r\n56789\r\n", "0\r\n\r\n")...)
	l.add("response/cut after flush", get("/noretry"), answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234", ""}, end: "close"})
	l.add("response/cut chunked after flush", get("/noretry"), answer{parts: []string{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n", ""}, end: "close"})
	l.add("response/bad chunk after flush", get("/noretry"), answer{parts: []string{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n", "xyz\r\n"}, end: "close"})
	l.add("response/reset after flush", get("/noretry"), answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234", ""}, end: "reset"})
	return l
}

func malformed() []trial {
	var l list
	head := "POST /m HTTP/1.1\r\nhost: a.example\r\n"
	for _, c := range []struct{ name, text string }{
		{"cl and te", head + "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"te and cl", head + "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n"},
		{"cl differ", head + "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"},
		{"cl equal", head + "content-length: 3\r\ncontent-length: 3\r\n\r\nabc"},
		{"cl list", head + "content-length: 3, 3\r\n\r\nabc"},
		{"cl plus", head + "content-length: +3\r\n\r\nabc"},
		{"cl minus", head + "content-length: -3\r\n\r\nabc"},
		{"cl empty", head + "content-length:\r\n\r\nabc"},
		{"cl hex", head + "content-length: 0x3\r\n\r\nabc"},
		{"cl space inside", head + "content-length: 3 3\r\n\r\nabc"},
		{"cl leading zeros", head + "content-length: 0003\r\n\r\nabc"},
		{"cl huge", head + "content-length: 99999999999999999999999\r\n\r\nabc"},
		{"cl 2^63", head + "content-length: 9223372036854775808\r\n\r\nabc"},
		{"te identity", head + "transfer-encoding: identity\r\n\r\nabc"},
		{"te chunked identity", head + "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
		{"te gzip chunked", head + "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{"te chunked chunked", head + "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
		{"te twice", head + "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"te xchunked", head + "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"},
		{"te upper", head + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n"},
		{"te tab", head + "transfer-encoding:\tchunked\r\n\r\n0\r\n\r\n"},
		{"te trailing space", head + "transfer-encoding: chunked \r\n\r\n0\r\n\r\n"},
		{"te vt", head + "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n"},
		{"te empty", head + "transfer-encoding:\r\n\r\n"},
		{"te quoted", head + "transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n"},
		{"te space before colon", head + "transfer-encoding : chunked\r\n\r\n0\r\n\r\n"},
		{"cl space before colon", head + "content-length : 3\r\n\r\nabc"},
		{"cl with te underscore", head + "content-length: 3\r\ntransfer_encoding: chunked\r\n\r\nabc"},
		{"te ten", "POST /m HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"name space", head + "x a: b\r\n\r\n"},
		{"name space before colon", head + "x-a : b\r\n\r\n"},
		{"name tab", head + "x\ta: b\r\n\r\n"},
		{"name paren", head + "x(a): b\r\n\r\n"},
		{"name nul", head + "x\x00a: b\r\n\r\n"},
		{"name high", head + "x\xe9: b\r\n\r\n"},
		{"name empty", head + ": b\r\n\r\n"},
		{"no colon", head + "junk\r\n\r\n"},
		{"value nul", head + "x-a: a\x00b\r\n\r\n"},
		{"value ctl", head + "x-a: a\x01b\r\n\r\n"},
		{"value del", head + "x-a: a\x7fb\r\n\r\n"},
		{"value tab", head + "x-a: a\tb\r\n\r\n"},
		{"value vt", head + "x-a: a\x0bb\r\n\r\n"},
		{"value lone cr", head + "x-a: a\rb\r\n\r\n"},
		{"value cr at end", head + "x-a: a\r\r\n\r\n"},
		{"fold", head + "x-a: a\r\n b\r\nx-c: d\r\n\r\n"},
		{"fold tab", head + "x-a: a\r\n\tb\r\nx-c: d\r\n\r\n"},
		{"fold of te", head + "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"},
		{"fold first", "POST /m HTTP/1.1\r\n host: a.example\r\n\r\n"},
		{"fold empty", head + "x-a: a\r\n \r\nx-c: d\r\n\r\n"},
		{"bare lf lines", "GET /m HTTP/1.1\nhost: a.example\n\n"},
		{"bare lf one", "GET /m HTTP/1.1\r\nhost: a.example\nx-a: b\r\n\r\n"},
		{"bare lf end", "GET /m HTTP/1.1\r\nhost: a.example\r\n\n"},
		{"cr only", "GET /m HTTP/1.1\rhost: a.example\r\r"},
		{"request line two spaces", "GET  /m HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"request line tab", "GET\t/m\tHTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"request line two spaces before version", "GET /m  HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"request line leading space", " GET /m HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"request line path with space", "GET /m m HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"request line no path", "GET HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"request line no version", "GET /m\r\nhost: a.example\r\n\r\n"},
		{"tls hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
		{"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{"garbage", "\x00\x01\x02\x03\r\n\r\n"},
		{"response", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
		{"head 59k", "GET /m HTTP/1.1\r\nhost: a.example\r\nx-a: " + strings.Repeat("v", 60000) + "\r\n\r\n"},
		{"head 62k", "GET /m HTTP/1.1\r\nhost: a.example\r\nx-a: " + strings.Repeat("v", 61500) + "\r\n\r\n"},
		{"head many", "GET /m HTTP/1.1\r\nhost: a.example\r\n" + strings.Repeat("x-a: "+strings.Repeat("v", 1000)+"\r\n", 70) + "\r\n"},
		{"name long", "GET /m HTTP/1.1\r\nhost: a.example\r\n" + strings.Repeat("n", 62000) + ": v\r\n\r\n"},
		{"url 62k", "GET /" + strings.Repeat("u", 62000) + " HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"url 59k", "GET /" + strings.Repeat("u", 59000) + " HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"headers 100", "GET /m HTTP/1.1\r\nhost: a.example\r\n" + strings.Repeat("x-a: b\r\n", 99) + "\r\n"},
		{"headers 101", "GET /m HTTP/1.1\r\nhost: a.example\r\n" + strings.Repeat("x-a: b\r\n", 100) + "\r\n"},
		{"headers 102", "GET /m HTTP/1.1\r\nhost: a.example\r\n" + strings.Repeat("x-a: b\r\n", 101) + "\r\n"},
		{"chunk size junk", head + "transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"},
		{"chunk size plus", head + "transfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size 0x", head + "transfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size underscore", head + "transfer-encoding: chunked\r\n\r\n0_3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size space before", head + "transfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size space after", head + "transfer-encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"},
		{"chunk size tab after", head + "transfer-encoding: chunked\r\n\r\n3\t\r\nabc\r\n0\r\n\r\n"},
		{"chunk size leading zeros", head + "transfer-encoding: chunked\r\n\r\n00000003\r\nabc\r\n0\r\n\r\n"},
		{"chunk size many zeros", head + "transfer-encoding: chunked\r\n\r\n" + strings.Repeat("0", 30) + "3\r\nabc\r\n0\r\n\r\n"},
		{"chunk size huge", head + "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n0\r\n\r\n"},
		{"chunk size empty", head + "transfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n"},
		{"chunk size minus", head + "transfer-encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"},
		{"chunk extension", head + "transfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n"},
		{"chunk extension space", head + "transfer-encoding: chunked\r\n\r\n3 ; a = b\r\nabc\r\n0\r\n\r\n"},
		{"chunk extension quoted", head + "transfer-encoding: chunked\r\n\r\n3;a=\"x;y\"\r\nabc\r\n0\r\n\r\n"},
		{"chunk extension lone cr", head + "transfer-encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n"},
		{"chunk extension lf", head + "transfer-encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n"},
		{"chunk extension long", head + "transfer-encoding: chunked\r\n\r\n3;" + strings.Repeat("a", 20000) + "\r\nabc\r\n0\r\n\r\n"},
		{"chunk bare lf", head + "transfer-encoding: chunked\r\n\r\n3\nabc\n0\n\n"},
		{"chunk data lf", head + "transfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"},
		{"chunk missing crlf", head + "transfer-encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n"},
		{"chunk too long", head + "transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n"},
		{"chunk trailer", head + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"},
		{"chunk trailer bad", head + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx t: 1\r\n\r\n"},
		{"chunk trailer cl", head + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ncontent-length: 5\r\n\r\n"},
		{"chunk trailers long", head + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: " + strings.Repeat("v", 70000) + "\r\n\r\n"},
		{"expect unknown", head + "expect: magic\r\ncontent-length: 3\r\n\r\nabc"},
		{"get with body", "GET /m HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\n\r\nabc"},
		{"get chunked", "GET /m HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"smuggle", head + "content-length: 3\r\n\r\nabcGET /smuggled HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"nul in path", "GET /a\x00b HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"nul in method", "G\x00T /a HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"cr in path", "GET /a\rb HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"pseudo header", head + ":path: /other\r\n\r\n"},
		{"method long", strings.Repeat("G", 300) + " /a HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"cut head", "GET /a HTTP/1.1\r\nhost: a.exa"},
		{"cut body", head + "content-length: 10\r\n\r\nabc"},
		{"connect", "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n"},
		{"connect with cl", "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\ncontent-length: 3\r\n\r\nabc"},
		{"connect with cl zero", "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\ncontent-length: 0\r\n\r\n"},
		{"connect with te", "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"connect path", "CONNECT /x HTTP/1.1\r\nhost: a.example:443\r\n\r\n"},
		{"options star", "OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n"},
		{"empty", ""},
	} {
		t := l.add("malformed/"+c.name, c.text)
		t.quiet = 250 * time.Millisecond
		if strings.HasPrefix(c.name, "cut") || c.name == "empty" {
			t.after = "fin"
		}
		if strings.Contains(c.text, "smuggled") {
			t.want = 2
		}
		if strings.HasPrefix(c.name, "fold") || strings.HasPrefix(c.name, "chunk trailer") || strings.HasPrefix(c.name, "expect") || strings.HasPrefix(c.name, "te") || strings.HasPrefix(c.name, "cl") {
			u := *t
			u.name, u.to = "malformed timeouts/"+c.name, "timeouts"
			l = append(l, u)
		}
	}
	return l
}

func replies() []trial {
	var l list
	for _, p := range []string{"/dead", "/once-dead", "/none", "/hole", "/unknown", "/404-unknown", "/badtls", "/plaintls", "/tls"} {
		for _, m := range []string{"GET", "HEAD", "POST", "grpc"} {
			s := get(p)
			switch m {
			case "HEAD":
				s = req(m, p)
			case "POST":
				s = req(m, p, "content-length: 3") + "abc"
			case "grpc":
				s = req("POST", p, "content-type: application/grpc", "te: trailers", "content-length: 3") + "abc"
			}
			l.add("reply/"+m+" "+p, s).quiet = 2500 * time.Millisecond
		}
	}
	l.add("reply/two on a connection", get("/dead")+get("/none")+get("/x")).want = 3
	l.add("reply/dead unread body", req("POST", "/dead", "content-length: 1000")+"abc").quiet = 1500 * time.Millisecond
	l.add("reply/none unread body", req("POST", "/none", "content-length: 1000")+"abc").quiet = 1500 * time.Millisecond
	l.add("reply/dead connection close", get("/dead", "connection: close"))
	l.add("reply/no route unread", strings.Replace(req("POST", "/nope", "content-length: 1000"), "a.example", "one.example", 1)+"abc").quiet = 1500 * time.Millisecond
	l.add("reply/no route grpc", strings.Replace(req("POST", "/nope", "content-type: application/grpc", "content-length: 3"), "a.example", "one.example", 1)+"abc")
	l.add("reply/no route head", strings.Replace(req("HEAD", "/nope"), "a.example", "one.example", 1))
	l.add("reply/slow", get("/slow"), answer{parts: []string{hello}, wait: 400 * time.Millisecond, end: "close"}).settle = 400 * time.Millisecond
	l.add("reply/slow grpc", req("POST", "/slow", "content-type: application/grpc", "content-length: 0"), answer{parts: []string{hello}, wait: 400 * time.Millisecond, end: "close"}).settle = 400 * time.Millisecond
	l.add("reply/slow body", get("/slow"), answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234"}, end: "hold"}).quiet = 500 * time.Millisecond
	t := l.add("reply/slow request body", "", answer{parts: []string{hello}})
	t.send = []string{req("POST", "/slow", "content-length: 10"), "01", "23", "45", "67", "89"}
	l.add("reply/try", get("/try"), answer{parts: []string{hello}, wait: 600 * time.Millisecond, end: "close"}).settle = 700 * time.Millisecond
	l.add("reply/try second fine", get("/try"), answer{parts: []string{hello}, wait: 200 * time.Millisecond, end: "close"}, answer{parts: []string{hello}}).settle = 200 * time.Millisecond
	l.add("reply/try 500 then fine", get("/try"), answer{parts: []string{"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"}}, answer{parts: []string{hello}})
	l.add("reply/5xx always", get("/5xx"), answer{parts: []string{"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"}})
	l.add("reply/5xx once", get("/5xx"), answer{parts: []string{"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"}}, answer{parts: []string{hello}})
	l.add("reply/5xx close-delimited once", get("/5xx"), answer{parts: []string{"HTTP/1.1 500 No\r\n\r\nno"}, end: "close"}, answer{parts: []string{hello}})
	l.add("reply/5xx 418", get("/5xx"), answer{parts: []string{"HTTP/1.1 418 No\r\ncontent-length: 2\r\n\r\nno"}}, answer{parts: []string{hello}})
	l.add("reply/5xx 409", get("/5xx"), answer{parts: []string{"HTTP/1.1 409 No\r\ncontent-length: 2\r\n\r\nno"}}, answer{parts: []string{hello}})
	l.add("reply/5xx ratelimited", get("/5xx"), answer{parts: []string{"HTTP/1.1 503 No\r\nx-envoy-ratelimited: 1\r\ncontent-length: 2\r\n\r\nno"}}, answer{parts: []string{hello}})
	l.add("reply/5xx post", req("POST", "/5xx", "content-length: 3")+"abc", answer{parts: []string{"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"}}, answer{parts: []string{hello}})
	l.add("reply/5xx chunked post", req("POST", "/5xx", "transfer-encoding: chunked")+"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", answer{parts: []string{"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"}}, answer{parts: []string{hello}})
	l.add("reply/5xx close", get("/5xx"), answer{end: "close"})
	l.add("reply/reset close", get("/reset"), answer{end: "close"})
	l.add("reply/reset once", get("/reset"), answer{end: "reset"}, answer{parts: []string{hello}})
	l.add("reply/reset protocol error", get("/reset"), answer{parts: []string{"junk junk\r\n\r\n"}, end: "close"})
	l.add("reply/default retry 503", get("/x"), answer{parts: []string{"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"}})
	l.add("reply/default retry grpc unavailable", req("POST", "/x", "content-type: application/grpc", "content-length: 0"), answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"}}, answer{parts: []string{hello}})
	l.add("reply/inbound close", get("/x"), answer{end: "close"}).to = "in"
	l.add("reply/early answer", "", answer{parts: []string{hello}, early: true, end: "hold"}).send = []string{req("POST", "/noretry", "content-length: 20"), "01234", "56789", "01234"}
	l.add("reply/early answer then rest", "", answer{parts: []string{hello}, early: true, end: "hold"}).send = []string{req("POST", "/noretry", "content-length: 10"), "01234", "56789"}
	l.add("reply/early error close", "", answer{parts: []string{"HTTP/1.1 413 Big\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig"}, early: true, end: "close"}).send = []string{req("POST", "/noretry", "content-length: 20"), "01234", "56789", "01234"}
	l.add("reply/early 413", "", answer{parts: []string{"HTTP/1.1 413 Big\r\ncontent-length: 3\r\n\r\nbig"}, early: true, end: "hold"}).send = []string{req("POST", "/noretry", "transfer-encoding: chunked"), "5\r\n01234\r\n", "5\r\n01234\r\n"}
	t = l.add("reply/client leaves", get("/noretry"), answer{parts: []string{hello}, wait: 300 * time.Millisecond, end: "close"})
	t.after, t.settle = "close", 400*time.Millisecond
	t = l.add("reply/client resets", get("/noretry"), answer{parts: []string{hello}, wait: 300 * time.Millisecond, end: "close"})
	t.after, t.settle = "reset", 400*time.Millisecond
	t = l.add("reply/client half-closes", get("/noretry"), answer{parts: []string{hello}, wait: 200 * time.Millisecond, end: "close"})
	t.after, t.settle = "fin", 300*time.Millisecond
	t = l.add("reply/client leaves in body", req("POST", "/noretry", "content-length: 20")+"abc", answer{parts: []string{hello}, end: "close"})
	t.after, t.settle = "close", 200*time.Millisecond
	t = l.add("reply/client leaves in response", get("/noretry"), answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234"}, end: "hold"})
	t.after, t.settle = "close", 200*time.Millisecond
	return l
}

func bodies() []trial {
	var l list
	l.add("body/length", req("POST", "/b", "content-length: 5", "x-last: 1")+"hello")
	l.add("body/chunked", req("POST", "/b", "transfer-encoding: chunked", "x-last: 1")+"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
	l.add("body/chunked parts", "").send = []string{req("POST", "/b", "transfer-encoding: chunked"), "3\r\nabc\r\n", "2\r\nd", "e\r\n0\r\n", "\r\n"}
	l.add("body/length parts", "").send = []string{req("POST", "/b", "content-length: 8"), "abc", "de", "fgh"}
	l.add("body/chunked empty", req("POST", "/b", "transfer-encoding: chunked")+"0\r\n\r\n")
	l.add("body/post without length", req("POST", "/b"))
	l.add("body/put without length", req("PUT", "/b"))
	l.add("body/delete without length", req("DELETE", "/b"))
	l.add("body/get length zero", get("/b", "content-length: 0"))
	l.add("body/chunked trailers kept", req("POST", "/b", "transfer-encoding: chunked", "trailer: x-t")+"3\r\nabc\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n").to = "timeouts"
	l.add("body/response trailers kept", get("/b"), says("HTTP/1.1 200 OK\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")...).to = "timeouts"
	l.add("expect/100 origin agrees", "", answer{parts: []string{"HTTP/1.1 100 Continue\r\n\r\n", "", "", hello}, early: true}).send = []string{req("POST", "/b", "expect: 100-continue", "content-length: 3"), "abc"}
	l.add("expect/100 origin refuses", "", answer{parts: []string{"HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"}, early: true, end: "hold"}).send = []string{req("POST", "/b", "expect: 100-continue", "content-length: 3")}
	l.add("expect/100 body at once", req("POST", "/b", "Expect: 100-Continue", "content-length: 3")+"abc")
	l.add("expect/100 own", "").to = "timeouts"
	l[len(l)-1].send = []string{req("POST", "/b", "expect: 100-continue", "content-length: 3"), "abc"}
	l.add("expect/100 without body", get("/b", "expect: 100-continue"))
	l.add("expect/100 without body own", get("/b", "expect: 100-continue")).to = "timeouts"
	l.add("expect/100 direct", "").send = []string{req("POST", "/direct", "expect: 100-continue", "content-length: 3")}
	l.add("expect/100 dead", "").send = []string{req("POST", "/dead", "expect: 100-continue", "content-length: 3")}
	l.add("body/after fin", req("POST", "/b", "content-length: 3")+"abc").after = "fin"
	l.add("body/200k", req("POST", "/b", "content-length: 200000")+strings.Repeat("x", 200000))
	for _, alpn := range [][]string{nil, {"istio-http/1.1", "istio", "http/1.1"}, {"h2"}, {"http/1.1"}} {
		t := l.add("tls/alpn "+strings.Join(alpn, ","), get("/x"))
		t.to, t.alpn = "intls", alpn
	}
	return l
}

func timeouts() []trial {
	var l list
	add := func(name string, send []string, quiet time.Duration, answers ...answer) *trial {
		l = append(l, trial{name: "timeout/" + name, to: "timeouts", send: send, quiet: quiet, answers: answers})
		return &l[len(l)-1]
	}
	add("idle at start", nil, 900*time.Millisecond)
	add("head slow", []string{"GET / HTTP/1.1\r\nho"}, 900*time.Millisecond)
	add("head slow second", []string{get("/x"), "GET / HTTP/1.1\r\nho"}, 900*time.Millisecond).want = 2
	add("body stops", []string{req("POST", "/x", "content-length: 10") + "abc"}, 900*time.Millisecond)
	add("body trickles", []string{req("POST", "/x", "content-length: 100"), "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a"}, 900*time.Millisecond)
	add("upstream silent", []string{get("/x")}, 900*time.Millisecond, answer{end: "hold"})
	add("upstream silent grpc", []string{get("/x", "content-type: application/grpc")}, 900*time.Millisecond, answer{end: "hold"})
	add("response stops", []string{get("/x")}, 900*time.Millisecond, answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"}, end: "hold"})
	add("response stops chunked", []string{get("/x")}, 900*time.Millisecond, answer{parts: []string{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"}, end: "hold"})
	add("idle after", []string{get("/x")}, 900*time.Millisecond).want = 2
	return l
}

func tcps() []trial {
	var l list
	add := func(name, to string, send []string, raw func(net.Conn)) *trial {
		l = append(l, trial{name: "tcp/" + name, to: "tcp:" + to, send: send, raw: raw, quiet: 200 * time.Millisecond, settle: 60 * time.Millisecond})
		return &l[len(l)-1]
	}
	echo := func(c net.Conn) { _, _ = io.Copy(c, c) }
	add("echo", "origin", []string{"abc", "def"}, echo)
	add("echo fin", "origin", []string{"abc"}, echo).after = "fin"
	add("echo close", "origin", []string{"abc"}, echo).after = "close"
	add("echo reset", "origin", []string{"abc"}, echo).after = "reset"
	add("origin speaks first and closes", "origin", nil, func(c net.Conn) { _, _ = io.WriteString(c, "banner") })
	add("origin resets", "origin", []string{"abc"}, func(c net.Conn) {
		b := make([]byte, 10)
		_, _ = c.Read(b)
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	add("origin half-closes then reads", "origin", []string{"abc", "def", "ghi"}, func(c net.Conn) {
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	for _, to := range []string{"dead", "none", "hole", "badtls", "unknown"} {
		add(to, to, []string{"abc"}, echo).quiet = 700 * time.Millisecond
		add(to+" silent", to, nil, echo).quiet = 700 * time.Millisecond
	}
	add("tls", "tls", []string{"abc"}, echo)
	add("tls fin", "tls", []string{"abc"}, echo).after = "fin"
	return l
}

func probes() []trial {
	var l list
	for _, m := range []string{"exact", "exact-inv", "joined", "prefix", "prefix-inv", "suffix", "contains", "regex", "regex-inv", "regex-two", "present", "absent", "present-inv", "range", "range-inv", "missing-empty", "missing-inv", "icase"} {
		for _, v := range []struct{ name, lines string }{{"none", ""}, {"a", "a"}, {"b", "b"}, {"a then b", "a|b"}, {"b then a", "b|a"}, {"b then c", "b|c"}, {"ab in one", "a,b"}, {"two empty", "|"}, {"empty", "EMPTY"}, {"3", "3"}, {"3 then 9", "3|9"}, {"9 then 3", "9|3"}, {"a twice", "a|a"}} {
			for _, h := range []string{"x-m", "accept"} {
				path := "/" + m
				if h == "accept" {
					path = "/i-" + m
				}
				var lines []string
				if v.lines == "EMPTY" {
					lines = []string{h + ":"}
				} else if v.lines != "" {
					for _, x := range strings.Split(v.lines, "|") {
						lines = append(lines, h+": "+x)
					}
				}
				l.add("probe match/"+h+" "+m+" with "+v.name, at("match.example", path, lines...))
			}
		}
	}
	for _, p := range []string{"/a/.;/b", "/a/..;x=y/b", "/a/%2e%2e;/b", "/a/..;", "/..;/b", "/a/...;/b", "/a;/../b", "/a/%2e%2e;x/b", "/a/..;%2f/b", "/a/..;?x", "/a/.;", "/a/..%3b/b", "/a/;../b", "/a/;/b", "/a;x=1/b", "/a/..;/..;/b", "/a/b/..;a/../c", "/a/..\\b", "/a/..;\\b", "/a/..%5cb", "/a/..#/b", "/a/b;/..", "/a/.%2e;/b", "/a/..%3B/b"} {
		l.add("probe path/"+p, get(p))
		l.add("probe path/merging "+p, get(p)).to = "timeouts"
	}
	l.add("probe scheme", at("match.example", "/scheme", "x-forwarded-proto: https"))
	l.add("probe scheme absolute", "GET https://match.example/scheme HTTP/1.1\r\nhost: x\r\n\r\n")
	l.add("probe scheme none", at("match.example", "/scheme"))
	l.add("probe scheme upper", at("match.example", "/scheme", "x-forwarded-proto: HTTPS"))
	l.add("probe both hosts", at("match.example", "/both"))
	for _, n := range []int{62000, 81800, 82100, 90000, 98200, 98500, 110000} {
		l.add(fmt.Sprintf("probe response head %d", n), get("/noretry"), answer{parts: []string{"HTTP/1.1 200 OK\r\nx-a: " + strings.Repeat("v", n) + "\r\ncontent-length: 0\r\n\r\n"}})
	}
	for _, n := range []int{100, 101, 102, 200, 500, 1500} {
		l.add(fmt.Sprintf("probe response headers %d", n), get("/noretry"), answer{parts: []string{"HTTP/1.1 200 OK\r\n" + strings.Repeat("x-a: v\r\n", n-1) + "content-length: 0\r\n\r\n"}})
	}
	l.add("probe idle", at("match.example", "/idle"), answer{end: "hold"})
	l.add("probe idle response stops", at("match.example", "/idle"), answer{parts: []string{"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"}, end: "hold"})
	t := l.add("probe idle request stops", strings.Replace(at("match.example", "/idle", "content-length: 5"), "GET", "POST", 1)+"ab")
	t.quiet = 900 * time.Millisecond
	for _, ref := range []string{"http://a.example", "http://a.example/x?y", "https://a.example:80/x", "/x/y", "/x?y#z", "x", "about:blank", "http://u@a/", "ftp://a.example/x", "android-app://x", "http://a.example/a b", "http://a.example/\xc3\xa9", "", "a.example/x", "//x", "http:///x", "http://", "?x", "/a:b", "http://a.example/%zz", "http://[::1]/x", "a/b", "/\"x"} {
		l.add("probe referer/"+ref, get("/x", "referer: "+ref))
	}
	for _, n := range []string{
		"accept-encoding", "authorization", "cache-control", "content-encoding", "etag", "grpc-status", "location", "origin", "access-control-request-method", "if-none-match", "via", "host2", "x-b3-traceid", "traceparent", "tracestate", "b3", "x-envoy-original-path", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "pragma", "expires", "te", "keep-alive", "x-client-trace-id", "x-ot-span-context", "content-language", "range", "accept-language", "x-envoy-attempt-count", "x-envoy-original-host", "grpc-timeout", "grpc-message", "x-envoy-downstream-service-cluster", "access-control-request-headers", "user-agent", "x-envoy-external-address", "www-authenticate", "set-cookie", "strict-transport-security",
		"accept", "content-type", "referer", "if-match", "if-modified-since", "if-unmodified-since", "if-range", "last-modified", "age", "date", "server", "vary", "allow", "expect", "x-request-id", "x-forwarded-for", "x-forwarded-proto",
		"access-control-allow-origin", "access-control-allow-headers", "access-control-allow-methods", "access-control-allow-credentials", "access-control-expose-headers", "access-control-max-age", "access-control-request-private-network", "access-control-allow-private-network", "timing-allow-origin",
		"x-envoy-downstream-service-node", "x-envoy-upstream-canary", "x-envoy-immediate-health-check-fail", "x-envoy-upstream-healthchecked-cluster", "x-envoy-degraded", "x-envoy-is-timeout-retry", "x-envoy-decorator-operation",
		"x-envoy-upstream-service-time", "x-envoy-overloaded", "x-envoy-local-overloaded", "x-envoy-original-dst-host", "x-forwarded-client-cert", "proxy-status", "proxy-authenticate", "proxy-authorization", "grpc-accept-encoding", "grpc-status-details-bin", "grpc-encoding",
		"x-envoy-attempt", "cookie", "trailer", "link", "content-disposition", "content-security-policy", "forwarded", "early-data", "x-ratelimit-limit", "x-envoy-ratelimited", "accept-ranges", "retry-after", "content-range", "content-location", "x-envoy-fault-delay-request", "alt-svc", "x-b3-spanid", "x-b3-sampled", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id", "x-forwarded-ssl", "x-envoy-upstream-alt-stat-name", "origin-agent-cluster", "sec-fetch-site", "idempotency-key",
	} {
		l.add("probe repeated/"+n, get("/x", n+": a", "x-between: 1", n+": b"))
		l.add("probe repeated response/"+n, get("/noretry"), says("HTTP/1.1 200 OK\r\n"+n+": a\r\nx-between: 1\r\n"+n+": b\r\ncontent-length: 0\r\n\r\n")...)
	}
	return l
}
