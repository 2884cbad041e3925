package twin

import "strings"

// badQuiet is how long to wait for a refusal.
const badQuiet = 700 * 1e6

// Beginnings of requests that go wrong.
const (
	badHead    = "POST " + plainPath + " HTTP/1.1\r\nhost: " + routesHost + "\r\nx-trial: {id}\r\n"
	badShort   = "GET " + plainPath + " HTTP/1.1\r\nhost: " + routesHost + "\r\n"
	badChunked = badHead + "transfer-encoding: chunked\r\n\r\n"
)

// malformed are requests that a strict reader refuses, and some that look so.
var malformed = [][2]string{
	{"length and chunked", badHead + "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"lengths differ", badHead + "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"},
	{"lengths equal", badHead + "content-length: 3\r\ncontent-length: 3\r\n\r\nabc"},
	{"length list", badHead + "content-length: 3, 3\r\n\r\nabc"},
	{"length plus", badHead + "content-length: +3\r\n\r\nabc"},
	{"length minus", badHead + "content-length: -3\r\n\r\nabc"},
	{"length empty", badHead + "content-length:\r\n\r\nabc"},
	{"length hex", badHead + "content-length: 0x3\r\n\r\nabc"},
	{"length with zeros", badHead + "content-length: 0003\r\n\r\nabc"},
	{"length huge", badHead + "content-length: 99999999999999999999999\r\n\r\nabc"},
	{"encoding identity", badHead + "transfer-encoding: identity\r\n\r\nabc"},
	{"encoding chunked, identity", badHead + "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
	{"encoding gzip, chunked", badHead + "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{"encoding twice", badHead + "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"encoding unknown", badHead + "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"},
	{"encoding upper", badHead + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n"},
	{"encoding after tab", badHead + "transfer-encoding:\tchunked\r\n\r\n0\r\n\r\n"},
	{"encoding empty", badHead + "transfer-encoding:\r\n\r\n"},
	{"encoding space before colon", badHead + "transfer-encoding : chunked\r\n\r\n0\r\n\r\n"},
	{"name with space", badHead + "x a: b\r\n\r\n"},
	{"name space before colon", badHead + "x-a : b\r\n\r\n"},
	{"name with parenthesis", badHead + "x(a): b\r\n\r\n"},
	{"name with zero", badHead + "x\x00a: b\r\n\r\n"},
	{"name high", badHead + "x\xe9: b\r\n\r\n"},
	{"name empty", badHead + ": b\r\n\r\n"},
	{"no colon", badHead + "junk\r\n\r\n"},
	{"value with zero", badHead + "x-a: a\x00b\r\n\r\n"},
	{"value with control", badHead + "x-a: a\x01b\r\n\r\n"},
	{"value with delete", badHead + "x-a: a\x7fb\r\n\r\n"},
	{"value with lone cr", badHead + "x-a: a\rb\r\n\r\n"},
	{"fold", badHead + "x-a: a\r\n b\r\nx-c: d\r\n\r\n"},
	{"fold of encoding", badHead + "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"},
	{"fold first", "POST /m HTTP/1.1\r\n host: " + routesHost + "\r\n\r\n"},
	{"bare line feeds", "GET /exact HTTP/1.1\nhost: " + routesHost + "\nx-trial: {id}\n\n"},
	{"one bare line feed", badShort + "x-trial: {id}\nx-a: b\r\n\r\n"},
	{"carriage returns alone", "GET /m HTTP/1.1\rhost: " + routesHost + "\r\r"},
	{"two spaces after method", "GET  /m HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"tabs in line", "GET\t/m\tHTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"two spaces before version", "GET /m  HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"leading space", " GET /m HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"no path", "GET HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"no version", "GET /m\r\nhost: " + routesHost + "\r\n\r\n"},
	{"zeros", "\x00\x01\x02\x03\r\n\r\n"},
	{"a response", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
	{"head of 59 KB", badShort + "x-trial: {id}\r\nx-a: " + strings.Repeat("v", 60000) + "\r\n\r\n"},
	{"head of 62 KB", badShort + "x-a: " + strings.Repeat("v", 61500) + "\r\n\r\n"},
	{"path of 62 KB", "GET /" + strings.Repeat("u", 62000) + " HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"100 headers", badShort + "x-trial: {id}\r\n" + strings.Repeat("x-a: b\r\n", 98) + "\r\n"},
	{"102 headers", badShort + strings.Repeat("x-a: b\r\n", 101) + "\r\n"},
	{"chunk size junk", badChunked + "zz\r\nabc\r\n0\r\n\r\n"},
	{"chunk size plus", badChunked + "+3\r\nabc\r\n0\r\n\r\n"},
	{"chunk size 0x", badChunked + "0x3\r\nabc\r\n0\r\n\r\n"},
	{"chunk size after space", badChunked + " 3\r\nabc\r\n0\r\n\r\n"},
	{"chunk size before space", badChunked + "3 \r\nabc\r\n0\r\n\r\n"},
	{"chunk size with zeros", badChunked + "00000003\r\nabc\r\n0\r\n\r\n"},
	{"chunk size huge", badChunked + "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n"},
	{"chunk extension", badChunked + "3;a=b\r\nabc\r\n0\r\n\r\n"},
	{"chunk extension with lone cr", badChunked + "3;a\rb\r\nabc\r\n0\r\n\r\n"},
	{"chunk with bare line feeds", badChunked + "3\nabc\n0\n\n"},
	{"chunk without end of line", badChunked + "3\r\nabc0\r\n\r\n"},
	{"chunk too long", badChunked + "2\r\nabc\r\n0\r\n\r\n"},
	{"chunk trailer", badChunked + "3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"},
	{"chunk trailer bad", badChunked + "3\r\nabc\r\n0\r\nx t: 1\r\n\r\n"},
	{"expect unknown", badHead + "expect: magic\r\ncontent-length: 3\r\n\r\nabc"},
	{"zero in path", "GET /a\x00b HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"cr in path", "GET /a\rb HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"pseudo header", badHead + ":path: /other\r\n\r\n"},
	{"long method", strings.Repeat("G", 300) + " /a HTTP/1.1\r\nhost: " + routesHost + "\r\n\r\n"},
	{"options star", "OPTIONS * HTTP/1.1\r\nhost: " + routesHost + "\r\nx-trial: {id}\r\n\r\n"},
}

func (c *corpus) malformed() {
	each(malformed, func(name, text string) {
		t := c.route("malformed/"+name, text)
		t.quiet = badQuiet
		if strings.HasPrefix(name, "chunk") {
			// How much the upstream had seen when the mistake came is the kernel's choice.
			t.loose = []string{"upstream*", "order upstream*", "log*.upstream*", "log*.received", "log*.attempts"}
		}
		if strings.HasPrefix(name, "length") || strings.HasPrefix(name, "encoding") || strings.HasPrefix(name, "head") {
			in := c.in("malformed/"+name, nil, strings.ReplaceAll(text, routesHost, serverHost))
			in.quiet = badQuiet
		}
	})
	cut := c.route("malformed/cut head", badShort)
	cut.after, cut.quiet, cut.loose = "fin", badQuiet, []string{"log*"} // the end comes with the beginning
	cut = c.route("malformed/cut body", badHead+"content-length: 10\r\n\r\nabc")
	cut.after, cut.quiet, cut.loose = "fin", badQuiet, []string{"upstream*", "log*"} // the same
	cut = c.route("malformed/nothing", "")
	cut.after, cut.quiet = "fin", badQuiet
	c.route("malformed/smuggled", badHead+"content-length: 3\r\n\r\nabcGET /direct HTTP/1.1\r\nhost: "+routesHost+"\r\n\r\n").want = 2
	c.route("malformed/empty lines first", "\r\n\r\n"+plain())
	c.route("malformed/many empty lines first", strings.Repeat("\r\n", 20)+plain())
}

func (c *corpus) bodies() {
	c.rest("body/length", nil, post("hello", "content-length: 5"))
	c.rest("body/length in parts", nil, post("", "content-length: 8"), "abc", "de", "fgh")
	c.rest("body/chunked", nil, post("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "transfer-encoding: chunked"))
	c.rest("body/chunked in parts", nil, post("", "transfer-encoding: chunked"), "3\r\nabc\r\n", "2\r\nd", "e\r\n0\r\n", "\r\n")
	c.rest("body/chunked empty", nil, post("0\r\n\r\n", "transfer-encoding: chunked"))
	c.rest("body/post without length", nil, post(""))
	c.rest("body/get with length 0", nil, plain("content-length: 0"))
	c.rest("body/get with body", nil, plain("content-length: 3")+"abc")
	c.rest("body/200 KB", nil, post(strings.Repeat("x", 200000), "content-length: 200000"))
	c.rest("body/expect", nil, post("", "expect: 100-continue", "content-length: 3"), "abc")
	c.rest("body/expect with body", nil, post("abc", "expect: 100-continue", "content-length: 3"))
	c.rest("body/expect without body", nil, plain("expect: 100-continue"))
	c.rest("body/expect refused", []answer{{raw: []string{"HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"}, early: true, end: "hold"}}, post("", "expect: 100-continue", "content-length: 3"))
	c.route("body/expect at a direct response", req("POST", routesHost, "/direct", "expect: 100-continue", "content-length: 3"))
	c.rest("body/pipelined", nil, plain()+post("ab", "content-length: 2")+plain()).want = 3
	c.rest("body/pipelined then close", nil, plain()+plain("connection: close")+plain()).want = 2
	c.in("body/length", nil, req("POST", serverHost, "/x", "content-length: 5")+"hello")
	c.in("body/chunked", nil, req("POST", serverHost, "/x", "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n")
	c.in("body/expect", nil, req("POST", serverHost, "/x", "expect: 100-continue", "content-length: 3"), "abc")
	c.in("body/pipelined", nil, get(serverHost, "/x")+get(serverHost, "/y")).want = 2
}
