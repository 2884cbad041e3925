//go:build oracle

package oracle_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
)

// http2s are trials over HTTP/2, downstream or upstream of the proxy or both.
func http2s() []trial {
	var l list
	l.heads2()
	l.bodies2()
	l.responses2()
	l.tunnels2()
	slices.SortStableFunc(l, func(a, b trial) int { return strings.Compare(a.name, b.name) })
	return l
}

// add2 adds a trial to one origin by each protocol.
func (l *list) add2(name string, frames func(host string) []string, answers ...answer) {
	for host, how := range map[string]string{"a.example": "to HTTP/1", "two.example": "to HTTP/2"} {
		t := l.add("http2/"+how+"/"+name, opening(frames(host)...), answers...)
		t.http2, t.quiet = true, 300*time.Millisecond
	}
}

// fields is a head that is sent whole.
func (l *list) head2(name string, edit func(head []string) []string) {
	l.add2("head/"+name, func(host string) []string {
		return []string{headers(1, true, edit(ask2(host, "/noretry/x"))...)}
	})
}

// heads2 are heads of requests.
func (l *list) heads2() {
	for name, more := range map[string][]string{
		"usual":                       {"user-agent: u", "accept: */*", "x-b: 1", "x-a: 2", "x-b: 3"},
		"colon in name":               {"\x00a:b\x00v"},
		"space in name":               {"\x00a b\x00v"},
		"CR in name":                  {"\x00a\rb\x00v"},
		"LF in name":                  {"\x00a\nx: y\x00v"},
		"control in name":             {"\x00a\x01\x00v"},
		"high byte in name":           {"\x00a\xc3\xa9\x00v"},
		"empty name":                  {"\x00\x00v"},
		"upper case name":             {"X-Upper: v"},
		"odd token":                   {"x!#$%&'*+.^`|~: 1"},
		"CR in value":                 {"x-a: b\rc"},
		"LF in value":                 {"x-a: b\nc"},
		"CRLF in value":               {"x-a: b\r\nx-smuggled: c"},
		"control in value":            {"x-a: b\x01c"},
		"DEL in value":                {"x-a: b\x7fc"},
		"tab in value":                {"x-a: b\tc"},
		"high byte in value":          {"x-a: b\xc3\xa9\xff"},
		"space before value":          {"\x00x-a\x00 b"},
		"space after value":           {"\x00x-a\x00b "},
		"tab around value":            {"\x00x-a\x00\tb\t"},
		"empty value":                 {"x-a:"},
		"second path":                 {":path: /other"},
		"second method":               {":method: POST"},
		"second scheme":               {":scheme: https"},
		"second authority":            {":authority: other.example"},
		"unknown pseudo":              {":foo: bar"},
		"status":                      {":status: 200"},
		"protocol without CONNECT":    {":protocol: websocket"},
		"pseudo after regular":        {"x-a: b", ":foo: bar"},
		"connection":                  {"connection: close"},
		"connection nominates":        {"connection: x-a", "x-a: b"},
		"keep-alive":                  {"keep-alive: 5"},
		"proxy-connection":            {"proxy-connection: keep-alive"},
		"transfer-encoding":           {"transfer-encoding: chunked"},
		"transfer-encoding identity":  {"transfer-encoding: identity"},
		"upgrade":                     {"upgrade: websocket"},
		"upgrade and connection":      {"upgrade: websocket", "connection: upgrade"},
		"http2-settings":              {"http2-settings: AAA"},
		"te trailers":                 {"te: trailers"},
		"te gzip":                     {"te: gzip"},
		"te both":                     {"te: trailers, gzip"},
		"te upper case":               {"te: Trailers"},
		"te twice":                    {"te: trailers", "te: trailers"},
		"host equal":                  {"host: a.example"},
		"host other":                  {"host: other.example"},
		"host empty":                  {"host:"},
		"host twice":                  {"host: one.example", "host: other.example"},
		"content-length zero":         {"content-length: 0"},
		"content-length without body": {"content-length: 5"},
		"content-length negative":     {"content-length: -1"},
		"content-length plus":         {"content-length: +0"},
		"content-length twice":        {"content-length: 0", "content-length: 0"},
		"content-length list":         {"content-length: 0, 0"},
		"content-length hexadecimal":  {"content-length: 0x0"},
		"content-length empty":        {"content-length:"},
		"cookie crumbs":               {"cookie: a=1", "x-a: b", "cookie: b=2", "cookie: c=3"},
		"cookie crumbs, empty":        {"cookie: a=1", "cookie:", "cookie: c=3"},
		"cookie crumbs, own ends":     {"cookie: a=1; ", "cookie: ;b=2", "cookie: c=3;"},
		"cookie crumbs, long":         {"cookie: " + strings.Repeat("a", 9000), "cookie: " + strings.Repeat("b", 9000), "cookie: " + strings.Repeat("c", 9000)},
		"expect":                      {"expect: 100-continue"},
		"forwarded":                   {"x-forwarded-for: 1.2.3.4", "x-forwarded-proto: https", "x-forwarded-host: h", "x-envoy-internal: true"},
		"long value":                  {"x-a: " + strings.Repeat("v", 50000)},
		"trailer":                     {"trailer: x-t"},
		"grpc":                        {"content-type: application/grpc", "te: trailers", "grpc-timeout: 1S"},
		"proxy-authorization":         {"proxy-authorization: Basic x"},
		"priority":                    {"priority: u=1"},
	} {
		l.head2(name, func(h []string) []string { return append(h, more...) })
	}
	for name, value := range map[string]string{
		"empty": "", "without slash": "x", "star": "*", "query alone": "?x", "with space": "/a b", "with LF": "/a\nb", "with CRLF": "/a HTTP/1.1\r\nx: y", "with CR": "/a\rb", "with tab": "/a\tb",
		"with fragment": "/a#b", "absolute": "http://abs.example/p", "absolute of https": "https://abs.example/p", "double slash": "//abs.example/p", "of dots": "/a/../b", "escaped dots": "/a/%2e%2e/b",
		"high bytes": "/\xc3\xa9", "control": "/a\x01", "DEL": "/a\x7f", "backslash": "/a\\..\\b", "quotes": "/a\"<>{}|^`", "bad escape": "/%zz", "escaped NUL": "/%00",
		"long": "/noretry/" + strings.Repeat("x", 20000),
	} {
		l.head2("path "+name, func(h []string) []string { return replace(h, ":path: "+value) })
	}
	for name, value := range map[string]string{
		"empty": "", "with user": "user@a.example", "with port": "a.example:80", "with space": "a b", "with LF": "a\nb", "with slash": "a/b", "upper case": "A.EXAMPLE", "with comma": "a,b", "high bytes": "\xc3\xa9", "query": "a?b", "with CRLF": "a.example\r\nx: y", "of IPv6": "[::1]:80",
	} {
		l.head2("authority "+name, func(h []string) []string { return replace(h, ":authority: "+value) })
		l.head2("host instead of authority "+name, func(h []string) []string {
			return append(without(h, ":authority"), "host: "+value)
		})
	}
	for name, value := range map[string]string{"empty": "", "lower case": "get", "with space": "GET /x HTTP/1.1", "with LF": "GET\nx", "HEAD": "HEAD", "OPTIONS": "OPTIONS", "TRACE": "TRACE", "token": "A!B", "PRI": "PRI", "CONNECT": "CONNECT", "long": strings.Repeat("M", 300)} {
		l.head2("method "+name, func(h []string) []string { return replace(h, ":method: "+value) })
	}
	for name, value := range map[string]string{"empty": "", "https": "https", "ftp": "ftp", "upper case": "HTTP", "with LF": "http\nx", "junk": "a b"} {
		l.head2("scheme "+name, func(h []string) []string { return replace(h, ":scheme: "+value) })
	}
	for _, name := range []string{":method", ":scheme", ":authority", ":path"} {
		l.head2("without "+name, func(h []string) []string { return without(h, name) })
		l.head2("late "+name, func(h []string) []string {
			var own string
			for _, f := range h {
				if strings.HasPrefix(f, name+":") {
					own = f
				}
			}
			return append(append(without(h, name), "x-a: b"), own)
		})
	}
	l.head2("host only", func(h []string) []string { return append(without(h, ":authority"), "host: a.example") })
	l.head2("star of OPTIONS", func(h []string) []string { return replace(replace(h, ":method: OPTIONS"), ":path: *") })
	for _, n := range []int{96, 97, 101, 200} {
		l.head2(fmt.Sprintf("%d fields", n), func(h []string) []string {
			for range n - 4 {
				h = append(h, "x-a: b")
			}
			return h
		})
	}
}

// replace gives a pseudo header another value.
func replace(head []string, field string) []string {
	name := field[:1+strings.IndexByte(field[1:], ':')+1]
	for i, f := range head {
		if strings.HasPrefix(f, name) {
			head[i] = field
		}
	}
	return head
}

func without(head []string, name string) []string {
	var out []string
	for _, f := range head {
		if !strings.HasPrefix(f, name+":") {
			out = append(out, f)
		}
	}
	return out
}

// bodies2 are content and trailers of requests.
func (l *list) bodies2() {
	post := func(host string, more ...string) []string {
		return replace(ask2(host, "/noretry/x", more...), ":method: POST")
	}
	type body struct {
		name   string
		fields []string
		rest   []string
	}
	for _, b := range []body{
		{"plain", nil, []string{content(1, true, "hello")}},
		{"of two frames", nil, []string{content(1, false, "hel"), content(1, true, "lo")}},
		{"empty at the end", nil, []string{content(1, false, "hello"), content(1, true, "")}},
		{"empty", nil, []string{content(1, true, "")}},
		{"with its length", []string{"content-length: 5"}, []string{content(1, true, "hello")}},
		{"longer than its length", []string{"content-length: 3"}, []string{content(1, true, "hello")}},
		{"longer in a second frame", []string{"content-length: 5"}, []string{content(1, false, "hello"), content(1, true, "GET /smuggled HTTP/1.1\r\n\r\n")}},
		{"shorter than its length", []string{"content-length: 9"}, []string{content(1, true, "hello")}},
		{"beyond zero length", []string{"content-length: 0"}, []string{content(1, true, "hello")}},
		{"length with zeros", []string{"content-length: 005"}, []string{content(1, true, "hello")}},
		{"two lengths", []string{"content-length: 5", "content-length: 3"}, []string{content(1, true, "hello")}},
		{"equal lengths", []string{"content-length: 5", "content-length: 5"}, []string{content(1, true, "hello")}},
		{"length with space", []string{"\x00content-length\x00 5"}, []string{content(1, true, "hello")}},
		{"huge length", []string{"content-length: 99999999999999999999"}, []string{content(1, true, "hello")}},
		{"chunked by name", []string{"transfer-encoding: chunked"}, []string{content(1, true, "5\r\nhello\r\n0\r\n\r\n")}},
		{"expected", []string{"expect: 100-continue", "content-length: 5"}, []string{content(1, true, "hello")}},
		{"with trailers", nil, []string{content(1, false, "hello"), headers(1, true, "x-t: 1", "x-t: 2")}},
		{"with its length and trailers", []string{"content-length: 5"}, []string{content(1, false, "hello"), headers(1, true, "x-t: 1")}},
		{"trailers alone", nil, []string{headers(1, true, "x-t: 1")}},
		{"trailers before its length", []string{"content-length: 9"}, []string{content(1, false, "hello"), headers(1, true, "x-t: 1")}},
		{"pseudo trailer", nil, []string{content(1, false, "hello"), headers(1, true, ":path: /other")}},
		{"status trailer", nil, []string{content(1, false, "hello"), headers(1, true, ":status: 200")}},
		{"upper case trailer", nil, []string{content(1, false, "hello"), headers(1, true, "X-T: 1")}},
		{"CRLF in trailer", nil, []string{content(1, false, "hello"), headers(1, true, "x-t: a\r\nb: c")}},
		{"length as trailer", nil, []string{content(1, false, "hello"), headers(1, true, "content-length: 5")}},
		{"encoding as trailer", nil, []string{content(1, false, "hello"), headers(1, true, "transfer-encoding: chunked")}},
		{"connection as trailer", nil, []string{content(1, false, "hello"), headers(1, true, "connection: close")}},
		{"host as trailer", nil, []string{content(1, false, "hello"), headers(1, true, "host: other.example")}},
		{"empty trailers", nil, []string{content(1, false, "hello"), headers(1, true)}},
		{"trailers without end", nil, []string{content(1, false, "hello"), headers(1, false, "x-t: 1")}},
		{"content after the end", nil, []string{content(1, true, "hello"), content(1, true, "more")}},
		{"cancelled", nil, []string{content(1, false, "hello"), cancel(1, http2.ErrCodeCancel)}},
	} {
		l.add2("body/"+b.name, func(host string) []string {
			return append([]string{headers(1, false, post(host, b.fields...)...)}, b.rest...)
		})
	}
}
