package twin

import (
	"strings"
)

func (c *corpus) matches() {
	each([][2]string{
		{"exact", "/exact"},
		{"exact with query", "/exact?a=1"},
		{"exact with fragment", "/exact#f"},
		{"exact with more", "/exact/"},
		{"exact in other case", "/Exact"},
		{"folded", "/folded"},
		{"folded in other case", "/FOLDED"},
		{"prefix", "/prefix/a/b?c"},
		{"prefix without slash", "/prefix"},
		{"prefix by dots", "/other/../prefix/a"},
		{"prefix by escaped dots", "/other/%2e%2e/prefix/a"},
		{"prefix with escaped slash", "/prefix%2fa"},
		{"prefix by double slash", "//prefix/a"},
		{"regex", "/regex/abc/12"},
		{"regex not whole", "/regex/abc/12/x"},
		{"regex with query", "/regex/abc/12?x=1"},
		{"regex missed", "/regex/ABC/12"},
		{"nothing", "/nothing-matches"},
		{"root", "/"},
		{"query exact", "/query?a=1"},
		{"query exact second", "/query?b=x&a=1"},
		{"query repeated", "/query?a=9&a=1"},
		{"query prefix", "/query?a=22"},
		{"query regex", "/query?b=123"},
		{"query regex missed", "/query?b=12x"},
		{"query empty", "/query?a="},
		{"query escaped", "/query?a=%31"},
		{"query key escaped", "/query?%61=1"},
		{"query none", "/query"},
		{"authority", "/authority"},
		{"scheme", "/scheme"},
	}, func(name, path string) { c.route("match/"+name, get(routesHost, path)) })
	each([][2]string{
		{"header exact", "x-kind: gold"},
		{"header exact other case", "x-kind: Gold"},
		{"header name other case", "X-Kind: gold"},
		{"header prefix", "x-kind: silver"},
		{"header regex", "x-kind: bronze"},
		{"header regex missed", "x-kind: bronzed"},
		{"header repeated first", "x-kind: gold\r\nx-kind: other"},
		{"header repeated second", "x-kind: other\r\nx-kind: gold"},
		{"header list", "x-kind: gold,other"},
		{"header spaces", "x-kind:   gold  "},
		{"header empty", "x-kind:"},
		{"header present", "x-there: 1"},
		{"header present empty", "x-there:"},
		{"header without", "x-a: 1"},
		{"header not without", "x-not: no"},
		{"header not without, repeated", "x-not: no\r\nx-not: yes"},
	}, func(name, line string) { c.route("match/"+name, get(routesHost, "/header", line)) })
	for _, m := range []string{"GET", "PUT", "POST", "PATCH", "DELETE"} {
		c.route("match/method "+m, req(m, routesHost, "/method", "content-length: 0"))
	}
	c.route("match/scheme forwarded", get(routesHost, "/scheme", "x-forwarded-proto: https"))
	c.route("match/host with port", get(routesHost+":80", "/exact"))
	c.route("match/host in other case", get(strings.ToUpper(routesHost), "/exact"))
	c.route("match/host short", get("routes.twin", "/exact"))
	c.route("match/host bare", get("routes", "/exact"))
}

// answersOfRoutes are replies that routes give by themselves.
func (c *corpus) answersOfRoutes() {
	for _, p := range []string{
		"/moved?a=b", "/moved/x", "/secure?a=b", "/port/x?a", "/old/rest?a=b", "/old/", "/derived?x", "/direct", "/direct-bytes", "/direct-empty", "/direct-503", "/direct-headers",
	} {
		for _, m := range []string{"GET", "HEAD", "POST"} {
			send := req(m, routesHost, p)
			if m == "POST" {
				send = req(m, routesHost, p, "content-length: 3") + "abc"
			}
			c.route("reply/"+m+" "+p, send)
		}
	}
	for _, p := range []string{"/direct", "/direct-503", "/moved", "/nothing-matches", "/unknown-host", "/empty-subset", "/retry-refused"} {
		c.route("reply/grpc "+p, req("POST", routesHost, p, "content-type: application/grpc", "te: trailers", "content-length: 3")+"abc")
	}
	for _, p := range []string{"/secure", "/port", "/derived", "/moved"} {
		c.route("reply/with port 8080 "+p, get(routesHost+":8080", p))
		c.route("reply/forwarded as https "+p, get(routesHost, p, "x-forwarded-proto: https"))
	}
	c.route("reply/direct with close", get(routesHost, "/direct", "connection: close"))
	c.route("reply/direct with keep-alive", get(routesHost, "/direct", "connection: keep-alive"))
	c.route("reply/direct with unread body", req("POST", routesHost, "/direct", "content-length: 1000")+"abc")
	c.route("reply/direct with chunked body", req("POST", routesHost, "/direct", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n")
	c.route("reply/direct twice", get(routesHost, "/direct")+get(routesHost, "/direct-bytes")).want = 2
	c.route("reply/direct with accept", get(routesHost, "/direct", "accept: application/json", "accept-encoding: gzip"))
}

func (c *corpus) edits() {
	theirs := replies(200, "body\n", "server: theirs", "content-type: text/plain", "x-set: own", "x-add: own", "x-resp-gone: 1", "set-cookie: a=1", "set-cookie: b=2", "x-level: own", "x-trail: own", "x-last: z")
	each([][2]string{
		{"bare", ""},
		{"of what is there", "x-set: own\r\nx-add: own\r\nx-twice: first\r\nx-gone: 1\r\nx-gone: 2\r\ncookie: c=1\r\naccept: a/b\r\nuser-agent: mine\r\nx-in: seen\r\nx-last: z"},
		{"of repeated lines", "x-set: 1\r\nx-a: b\r\nx-set: 2\r\nx-twice: 0\r\nx-twice: 1"},
		{"in other case", "X-Set: own\r\nX-ADD: own\r\nX-Gone: 1"},
	}, func(name, lines string) {
		c.route("edit/"+name, get(routesHost, "/edit?q=1", strings.Split(lines, "\r\n")...)).answers = theirs
	})
	c.route("edit/levels", get(routesHost, "/weighted-headers", "x-level: own", "x-trail: own", "x-gone-there: 1"), theirs...)
	c.route("edit/weighted to one", get(routesHost, "/weighted-one", "x-dest: own"), theirs...)
	c.route("edit/host", get(routesHost, "/set-host"), theirs...)
	each([][2]string{
		{"prefix", "/rewrite/a/b?c=d"},
		{"prefix alone", "/rewrite/"},
		{"prefix with dots", "/rewrite/../rewrite/x"},
		{"prefix with escapes", "/rewrite/%41%2fb?x=%2f"},
		{"root", "/rooted/a?b"},
		{"root alone", "/rooted"},
		{"root with query", "/rooted?b"},
		{"authority", "/other-host?x"},
		{"regex", "/swap/a/b?c=d"},
		{"regex missed", "/swap/a"},
		{"regex rest", "/swap/a/b/c"},
		{"none", "/rest?x"},
	}, func(name, path string) {
		c.route("rewrite/"+name, get(routesHost, path))
		if name == "prefix" || name == "authority" {
			c.route("rewrite/"+name+" with claims", get(routesHost, path, "x-envoy-original-path: /admin", "x-envoy-original-host: evil.example", "x-forwarded-host: evil.example"))
		}
	})
}

// requested are header lines of requests.
var requested = [][2]string{
	{"usual", "User-Agent: curl/8\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: a=1; b=2\r\nReferer: http://x.example/y\r\nCache-Control: no-cache"},
	{"order with case", "X-B: 1\r\nX-A: 2\r\nx-B: 3\r\nX-C:4\r\nX-D:  5  \r\nX-Empty:\r\nX-Space: a  b\tc"},
	{"xff one", "X-Forwarded-For: 10.1.1.1"},
	{"xff two", "X-Forwarded-For: 10.1.1.1, 10.2.2.2"},
	{"xff repeated", "X-Forwarded-For: 10.1.1.1\r\nx-a: b\r\nX-Forwarded-For: 10.2.2.2"},
	{"xff junk", "X-Forwarded-For: junk"},
	{"xff v6", "X-Forwarded-For: 2001:db8::1"},
	{"xff empty", "X-Forwarded-For:"},
	{"xfp https", "X-Forwarded-Proto: https"},
	{"xfp junk", "X-Forwarded-Proto: junk"},
	{"xfp upper", "X-Forwarded-Proto: HTTPS"},
	{"forwarded host", "X-Forwarded-Host: h.example\r\nx-forwarded-port: 99"},
	{"xfcc", "X-Forwarded-Client-Cert: By=spiffe://x;Hash=1"},
	{"request id uuid", "X-Request-Id: 6ba7b810-9dad-41d1-80b4-00c04fd430c8"},
	{"request id text", "X-Request-Id: mine"},
	{"request id empty", "X-Request-Id:"},
	{"request id twice", "X-Request-Id: a\r\nX-Request-Id: b"},
	{"te trailers", "TE: trailers"},
	{"te gzip", "TE: gzip"},
	{"keep-alive", "Connection: keep-alive\r\nKeep-Alive: timeout=5"},
	{"nominates", "X-Hop: 1\r\nConnection: x-hop\r\nX-Stay: 2"},
	{"nominates authorization", "Authorization: secret\r\nConnection: authorization"},
	{"nominates host", "Connection: host"},
	{"nominates xff", "x-forwarded-for: 1.2.3.4\r\nConnection: x-forwarded-for"},
	{"nominates pseudo", "Connection: :path"},
	{"nominates many", "Connection: a,b,c,d,e,f,g,h,i,j,k"},
	{"connection close", "Connection: close"},
	{"proxy-connection", "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x"},
	{"h2c settings", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"},
	{"nominates length", "Content-Length: 0\r\nConnection: content-length"},
	{"nominates cookie and te", "Cookie: a=b\r\nTE: trailers\r\nConnection: cookie, te"},
	{"nominates request id", "X-Request-Id: 6ba7b810-9dad-41d1-80b4-00c04fd430c8\r\nConnection: x-request-id"},
	{"nominates original path", "X-Envoy-Original-Path: /a\r\nConnection: X-Envoy-Original-Path"},
	{"connection empty", "Connection:"},
	{"connection of commas", "Connection: ,, ,close,"},
	{"connection twice", "Connection: keep-alive\r\nConnection: close"},
	{"date and server", "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: me"},
	{"range and conditions", "Range: bytes=0-1\r\nIf-None-Match: \"x\"\r\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT"},
	{"authorization", "Authorization: Bearer a.b.c\r\nWWW-Authenticate: Basic"},
	{"grpc timeout", "grpc-timeout: 1S"},
	{"max stream duration", "x-envoy-upstream-stream-duration-ms: 5000"},
	{"timeout zero", "x-envoy-upstream-rq-timeout-ms: 0"},
	{"timeout junk", "x-envoy-upstream-rq-timeout-ms: soon"},
	{"retry grpc on", "x-envoy-retry-grpc-on: unavailable\r\nx-envoy-hedge-on-per-try-timeout: true"},
	{"decorator empty", "x-envoy-decorator-operation:"},
	{"via twice", "Via: 1.1 a\r\nVia: 1.0 b"},
	{"names of one letter", "a: 1\r\nb: 2\r\nA: 3"},
	{"value of a list", "x-list: a, b\r\nx-list: c"},
	{"spaces within", "x-a:  a \t b\t"},
	{"content type alone", "Content-Type: application/json"},
	{"trailer announced", "Trailer: x-t"},
	{"expect 100 without body", "Expect: 100-continue"},
	{"upgrade insecure", "Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Mode: navigate\r\nDNT: 1"},
	{"priority", "Priority: u=1\r\nEarly-Data: 1"},
	{"referer invalid", "Referer: not a url"},
	{"referer twice", "Referer: http://a.example/\r\nReferer: http://b.example/"},
	{"b3 and w3c", "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124\r\nx-b3-spanid: a2fb4a1d1a96d312\r\nx-b3-sampled: 1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx-client-trace-id: ab"},
	{"cookies repeated", "Cookie: a=1\r\nx-a: b\r\nCookie: b=2"},
	{"accept repeated", "Accept: a/b\r\nx-a: b\r\nAccept: c/d"},
	{"agent repeated", "User-Agent: a\r\nUser-Agent: b"},
	{"agent empty", "User-Agent:"},
	{"underscores", "X_Under: 1\r\na_b: 2"},
	{"odd token", "X!#$%&'*+.^`|~: 1"},
	{"high bytes", "X-High: \xc3\xa9\r\nx-quote: \"\\"},
	{"peer metadata", "x-envoy-peer-metadata: abc\r\nx-envoy-peer-metadata-id: id"},
	{"decorator", "x-envoy-decorator-operation: spoof"},
	{"original path", "x-envoy-original-path: /admin\r\nx-envoy-original-dst-host: 127.0.0.1:1"},
	{"force trace", "x-envoy-force-trace: 1"},
	{"internal", "x-envoy-internal: true"},
	{"external address", "x-envoy-external-address: 9.9.9.9"},
	{"retry on", "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3"},
	{"timeouts", "x-envoy-upstream-rq-timeout-ms: 5000\r\nx-envoy-upstream-rq-per-try-timeout-ms: 4000"},
	{"expected timeout", "x-envoy-expected-rq-timeout-ms: 9"},
	{"attempt count", "x-envoy-attempt-count: 9"},
	{"service cluster", "x-envoy-downstream-service-cluster: x\r\nx-envoy-downstream-service-node: y"},
	{"alt stat name", "x-envoy-upstream-alt-stat-name: x"},
	{"via", "Via: 1.1 x\r\nForwarded: for=1.2.3.4"},
	{"long value", "X-Long: " + strings.Repeat("v", 20000)},
}

func (c *corpus) requestHeaders() {
	each(requested, func(name, lines string) {
		c.route("request/"+name, plain(strings.Split(lines, "\r\n")...))
		c.in("request/"+name, nil, get(serverHost, "/x", strings.Split(lines, "\r\n")...))
	})
}

func (c *corpus) paths() {
	for _, p := range []string{
		"/rest//a//b", "/rest/a/../b", "/rest/./b", "/rest/%2e%2e/rest", "/rest%2f", "/rest%5cb", "/rest\\b", "/rest/%41%7e%2d%5f", "/rest/%c3%a9", "/rest/\xc3\xa9", "/rest/%zz", "/rest/%", "/rest/%00",
		"/rest;b=c", "/rest?b=c/../d", "/rest?x=%2e%2e", "/rest?q#frag", "/rest/a|b", "/rest/a\"b", "/rest/{b}", "/rest/a'b*(c)!$&,:=@~", "/rest/..;/b", "/rest/a b", "*", "rest", "?x", "/..", "/rest/\x7f",
		"/rest?", "/rest??a", "/rest?a=b&a=c&=&", "/rest/%4", "/rest/%2F%2f", "/rest/%25", "/rest/%0d%0a", "/rest/.", "/rest/..", "/rest/...", "/rest/../../..", "/./rest", "/rest/;a=b/../c", "/rest#", "/rest/?#/a",
		"http://" + routesHost + "?q", "http://" + routesHost + ":80/rest", "http://" + routesHost + ":81/rest", "http://ROUTES.twin/rest", "http://unknown.example/rest", "ws://" + routesHost + "/rest", "rest/a", "a:b", "//", "///rest",
		"http://" + routesHost + "/rest?q", "http://" + routesHost, "HTTP://" + routesHost + "/rest", "https://" + routesHost + "/rest", "ftp://" + routesHost + "/rest", "http://user@" + routesHost + "/rest", "http:///rest", "//" + routesHost + "/rest",
	} {
		c.route("path/"+p, get(routesHost, p))
	}
	c.route("path/control", get(routesHost, "/rest/\x01"))
	c.route("path/tab", get(routesHost, "/rest/\t"))
	c.route("path/long", get(routesHost, "/rest/"+strings.Repeat("x", 9000)))
	for _, p := range []string{"/a/../b", "//a//b", "/a%2fb", "/a/%2e%2e/b", "/a\\b", "/a#b", "/a?b#c"} {
		c.in("path/"+p, nil, get(serverHost, p))
	}
	for _, to := range []string{"web.twin:80", routesHost + ":80", routesHost, "unknown.example:443", "/x", "*", "web.twin:0", "web.twin:99999"} {
		c.route("method/CONNECT to "+to, "CONNECT "+to+" HTTP/1.1\r\nhost: "+to+"\r\nx-trial: {id}\r\n\r\n").quiet = badQuiet
		c.in("method/CONNECT to "+to, nil, "CONNECT "+to+" HTTP/1.1\r\nhost: "+to+"\r\nx-trial: {id}\r\n\r\n").quiet = badQuiet
	}
	for _, m := range []string{"PATCH", "PURGE", "LINK", "QUERY", "MSEARCH", "SEARCH", "BREW", "A!B", "G", "PRI", "NOTIFY", "LOCK"} {
		c.route("method/"+m, req(m, routesHost, plainPath))
		c.in("method/"+m, nil, req(m, serverHost, "/x"))
	}
	for _, m := range []string{"DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO", "get", "M-SEARCH", "HEAD", "CONNECT"} {
		c.route("method/"+m, req(m, routesHost, plainPath))
		c.route("method/"+m+" with body", req(m, routesHost, plainPath, "content-length: 3")+"abc")
	}
	each([][2]string{{"1.0", "HTTP/1.0"}, {"0.9", "HTTP/0.9"}, {"1.2", "HTTP/1.2"}, {"2.0", "HTTP/2.0"}, {"lower case", "http/1.1"}, {"none", ""}, {"1.10", "HTTP/1.10"}}, func(name, v string) {
		c.route("version/"+name, strings.Replace(plain(), "HTTP/1.1", v, 1))
		c.in("version/"+name, nil, strings.Replace(get(serverHost, "/x"), "HTTP/1.1", v, 1))
	})
	c.route("version/none, nor a space", strings.Replace(plain(), " HTTP/1.1", "", 1))
	c.in("version/none, nor a space", nil, strings.Replace(get(serverHost, "/x"), " HTTP/1.1", "", 1))
	c.in("version/1.0 without host", nil, "GET /x HTTP/1.0\r\nx-trial: {id}\r\n\r\n")
	c.in("version/1.0 kept alive", nil, strings.Replace(get(serverHost, "/x", "connection: keep-alive"), "HTTP/1.1", "HTTP/1.0", 1))
	c.in("version/1.0 with body", nil, strings.Replace(req("POST", serverHost, "/x", "content-length: 3"), "HTTP/1.1", "HTTP/1.0", 1)+"abc")
	c.route("version/1.1 with space behind", strings.Replace(plain(), "HTTP/1.1", "HTTP/1.1 ", 1))
}

func (c *corpus) hosts() {
	for _, h := range []string{
		"", " ", "a b", "a/b", "a@b", "a_b.example", "a,b", "\xc3\xa9", "a\"b", "1.2.3.4", "[::1]", "unknown.example", "unknown.example:8080", "web.twin", webHost + ":80", webHost + ":81", webHost + ".", "*", "a?b", "user:pw@a",
	} {
		c.add(trial{name: "outbound/host/" + h, to: webAt, send: []string{get(h, "/x")}})
		if h != "unknown.example:8080" && !strings.HasPrefix(h, "web") {
			c.in("host/"+h, nil, get(h, "/x"))
		}
	}
	each([][2]string{
		{"twice", "GET /rest HTTP/1.1\r\nhost: " + routesHost + "\r\nhost: b.example\r\nx-trial: {id}\r\n\r\n"},
		{"missing", "GET /rest HTTP/1.1\r\nx-trial: {id}\r\n\r\n"},
		{"last", "GET /rest HTTP/1.1\r\nx-trial: {id}\r\nhost: " + routesHost + "\r\n\r\n"},
		{"other in line", "GET http://" + routesHost + "/rest HTTP/1.1\r\nhost: other.example\r\nx-trial: {id}\r\n\r\n"},
	}, func(name, send string) { c.route("host/of "+name, send) })
	for _, h := range []string{"web.twin.svc.cluster.local", "unknown.example", "outside.example"} {
		c.add(trial{name: "closed/host/" + h, from: "closed", to: webAt, send: []string{get(h, "/x")}})
	}
}
