package http1_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

func TestRequestHeads(t *testing.T) {
	many := strings.Repeat("a: b\r\n", 99)
	long := strings.Repeat("x", 60<<10)
	tests := []struct {
		name    string
		raw     string
		want    string // what the handler saw
		status  int    // or the refusal
		details string
	}{
		{
			name: "plain", raw: "GET /a?b=c HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-b:2\r\n\r\n",
			want: "GET http h /a?b=c [x-a: 1] [x-b: 2]",
		},
		{
			name: "order and repeats are kept", raw: "GET / HTTP/1.1\r\nb: 1\r\nHost: h\r\na: 2\r\nb: 3\r\n\r\n",
			want: "GET http h / [b: 1] [a: 2] [b: 3]",
		},
		{
			name: "white space around values goes", raw: "GET / HTTP/1.1\r\nHost: \t h \t\r\na: \t b c \t \r\nd:\r\n\r\n",
			want: "GET http h / [a: b c] [d: ]",
		},
		{
			name: "empty lines before the request are skipped", raw: "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
			want: "GET http h /",
		},
		{
			name: "hop-by-hop fields go", raw: "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nx-hop: 1\r\nTE: gzip, trailers\r\nUpgrade: websocket\r\n\r\n",
			want: "GET http h / [te: trailers]",
		},
		{name: "te without trailers goes", raw: "GET / HTTP/1.1\r\nHost: h\r\nTE: gzip\r\n\r\n", want: "GET http h /"},
		{
			name: "upgrade", raw: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
			want: "GET http h / [connection: Upgrade] [upgrade: WebSocket] upgrade=websocket",
		},
		{
			name: "h2c upgrade is ignored", raw: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
			want: "GET http h /",
		},
		{name: "absolute form", raw: "GET HTTP://u:80/p?q HTTP/1.1\r\nHost: other\r\n\r\n", want: "GET http u:80 /p?q"},
		{name: "absolute form with https", raw: "GET https://u/p HTTP/1.1\r\nHost: other\r\n\r\n", want: "GET https u /p"},
		{name: "absolute form without path", raw: "GET http://u?q HTTP/1.1\r\nHost: u\r\n\r\n", want: "GET http u /?q"},
		{name: "asterisk", raw: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", want: "OPTIONS http h *"},
		{name: "connect", raw: "CONNECT u:443 HTTP/1.1\r\nHost: u:443\r\n\r\n", want: "CONNECT http u:443 "},
		{
			name: "obs-fold is joined", raw: "GET / HTTP/1.1\r\nHost: h\r\na: foo\r\n  bar\r\n\tbaz\r\nb: c\r\n\r\n",
			want: "GET http h / [a: foo  bar\tbaz] [b: c]",
		},
		{name: "obs-fold of an empty value", raw: "GET / HTTP/1.1\r\nHost: h\r\na:\r\n b\r\n \r\n\r\n", want: "GET http h / [a: b]"},
		{name: "bytes beyond ASCII in values", raw: "GET / HTTP/1.1\r\nHost: h\r\na: \xc3\xa9\xff\r\n\r\n", want: "GET http h / [a: \xc3\xa9\xff]"},
		{name: "content length", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", want: "POST http h / [content-length: 3] body=abc"},
		{
			name: "chunks", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n",
			want: "POST http h / body=abc0123456789",
		},
		{
			name: "trailers are dropped", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\nz: 1\r\n\r\n",
			want: "POST http h / body=a",
		},
		{name: "one hundred headers", raw: "GET / HTTP/1.1\r\nHost: h\r\n" + many + "\r\n", want: "GET http h /" + strings.Repeat(" [a: b]", 99)},
		{name: "empty host", raw: "GET / HTTP/1.1\r\nHost:\r\n\r\n", want: "GET http  /"},
		{name: "unknown expectation passes", raw: "GET / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", want: "GET http h / [expect: x]"},

		{name: "101 headers", raw: "GET / HTTP/1.1\r\nHost: h\r\na: b\r\n" + many + "\r\n", status: 431, details: "http1.too_many_headers"},
		{name: "a head above 60 KiB", raw: "GET / HTTP/1.1\r\nHost: h\r\na: " + long + "\r\n\r\n", status: 431, details: "http1.headers_too_large"},
		{name: "a target above 60 KiB", raw: "GET /" + long + " HTTP/1.1\r\nHost: h\r\n\r\n", status: 431, details: "http1.headers_too_large"},
		{name: "a head without end", raw: "GET / HTTP/1.1\r\nHost: h\r\na: " + long + long, status: 431, details: "http1.headers_too_large"},
		{name: "many continuation lines", raw: "GET / HTTP/1.1\r\nHost: h\r\na: b\r\n" + strings.Repeat(" c\r\n", 100) + "\r\n", status: 431, details: "http1.too_many_headers"},
		{name: "garbage", raw: "\x16\x03\x01\x02\x00\x01", status: 400, details: "http1.codec_error"},
		{name: "unknown method", raw: "GOT / HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "lower-case method", raw: "get / HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "http2 preface", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "endless method", raw: "AAAAAAAAAAAAAAAAAAAAAAAAAA", status: 400, details: "http1.codec_error"},
		{name: "two spaces", raw: "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "space in target", raw: "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "trailing space in request line", raw: "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "control character in target", raw: "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.invalid_characters"},
		{name: "no protocol", raw: "GET /\r\nHost: h\r\n\r\n", status: 426, details: "low_version"},
		{name: "no target", raw: "GET HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "bare CR in target", raw: "GET /a\rb HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "CONNECT to no port", raw: "CONNECT h:65536 HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.invalid_url"},
		{name: "lower-case protocol", raw: "GET / http/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "HTTP/1.0", raw: "GET / HTTP/1.0\r\nHost: h\r\n\r\n", status: 426, details: "low_version"},
		{name: "HTTP/1.2", raw: "GET / HTTP/1.2\r\nHost: h\r\n\r\n", status: 426, details: "low_version"},
		{name: "relative target", raw: "GET a HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "asterisk with GET", raw: "GET * HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.invalid_url"},
		{name: "foreign scheme", raw: "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.invalid_scheme"},
		{name: "absolute form without authority", raw: "GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.invalid_url"},
		{name: "absolute form with user", raw: "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", status: 400, details: "http1.invalid_url"},
		{name: "no host", raw: "GET / HTTP/1.1\r\n\r\n", status: 400, details: "missing_host_header"},
		{name: "no host with absolute form", raw: "GET http://h/ HTTP/1.1\r\n\r\n", status: 400, details: "missing_host_header"},
		{name: "host that is nominated", raw: "GET / HTTP/1.1\r\nHost: h\r\nConnection: host\r\n\r\n", status: 400, details: "missing_host_header"},
		{name: "no version", raw: "GET / \r\nHost: h\r\n\r\n", status: 426, details: "low_version"},
		{name: "method of another protocol", raw: "M-SEARCH * HTTP/1.1\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "two hosts", raw: "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", status: 400, details: "http.invalid_authority"},
		{name: "host with a space", raw: "GET / HTTP/1.1\r\nHost: h i\r\n\r\n", status: 400, details: "http.invalid_authority"},
		{name: "space before colon", raw: "GET / HTTP/1.1\r\nHost: h\r\na : b\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "no colon", raw: "GET / HTTP/1.1\r\nHost: h\r\nabc\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "empty name", raw: "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "fold before any field", raw: "GET / HTTP/1.1\r\n a: b\r\nHost: h\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "NUL in name", raw: "GET / HTTP/1.1\r\nHost: h\r\na\x00: b\r\n\r\n", status: 400, details: "http1.invalid_characters"},
		{name: "NUL in value", raw: "GET / HTTP/1.1\r\nHost: h\r\na: b\x00c\r\n\r\n", status: 400, details: "http1.invalid_characters"},
		{name: "DEL in value", raw: "GET / HTTP/1.1\r\nHost: h\r\na: 12345678\x7f\r\n\r\n", status: 400, details: "http1.invalid_characters"},
		{name: "bare CR in value", raw: "GET / HTTP/1.1\r\nHost: h\r\na: b\rc: d\r\n\r\n", status: 400, details: "http1.invalid_characters"},
		{name: "bare LF ends no line", raw: "GET / HTTP/1.1\r\nHost: h\r\na: b\nc: d\r\n\r\n", status: 400, details: "http1.invalid_characters"},
		{name: "bare LF ends no request line", raw: "GET / HTTP/1.1\nHost: h\n\n", status: 400, details: "http1.codec_error"},
		{name: "bare LF ends no head", raw: "GET / HTTP/1.1\r\nHost: h\r\n\n", status: 400, details: "http1.codec_error"},
		{name: "length twice", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", status: 400, details: "http1.codec_error"},
		{name: "length list", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nabcde", status: 400, details: "http1.codec_error"},
		{name: "length with plus", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nabcde", status: 400, details: "http1.codec_error"},
		{name: "length with minus", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nabcde", status: 400, details: "http1.codec_error"},
		{name: "length empty", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "length in hexadecimal", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\na", status: 400, details: "http1.codec_error"},
		{name: "length overflows", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551617\r\n\r\na", status: 400, details: "http1.codec_error"},
		{name: "length and chunked", raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, details: "http1.content_length_and_chunked_not_allowed"},
		{name: "unknown coding", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", status: 501, details: "http1.invalid_transfer_encoding"},
		{name: "two codings", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", status: 501, details: "http1.invalid_transfer_encoding"},
		{name: "gzip, chunked", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", status: 501, details: "http1.invalid_transfer_encoding"},
		{name: "chunked twice", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 501, details: "http1.invalid_transfer_encoding"},
		{name: "coding empty", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", status: 501, details: "http1.invalid_transfer_encoding"},
		{name: "vertical tab before coding", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", status: 400, details: "http1.invalid_characters"},
		{name: "space before colon of coding", raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", status: 400, details: "http1.codec_error"},
		{name: "connect with length", raw: "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 1\r\n\r\na", status: 400, details: "http1.body_disallowed"},
		{name: "connect with coding", raw: "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 501, details: "http1.invalid_transfer_encoding"},
		{name: "ten nominated fields", raw: "GET / HTTP/1.1\r\nHost: h\r\nConnection: a,b,c,d,e,f,g,h,i,j\r\n\r\n", status: 400, details: "http1.connection_header_rejected"},
		{name: "nominated x-forwarded-for", raw: "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For\r\n\r\n", status: 400, details: "http1.connection_header_rejected"},
		{name: "nominated pseudo header", raw: "GET / HTTP/1.1\r\nHost: h\r\nConnection: :path\r\n\r\n", status: 400, details: "http1.connection_header_rejected"},
		{name: "long te", raw: "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers;" + strings.Repeat("x", 256) + "\r\n\r\n", status: 400, details: "http1.connection_header_rejected"},
		{name: "endless empty lines", raw: strings.Repeat("\r\n", 20), status: 400, details: "http1.codec_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range []string{"at once", "byte by byte"} {
				if mode == "byte by byte" && len(tt.raw) > 1<<10 {
					continue
				}
				checkHead(t, mode, tt.raw, tt.want, &http1.ProtocolError{Status: tt.status, Details: tt.details})
			}
		})
	}
}

func checkHead(t *testing.T, mode, raw, want string, refusal *http1.ProtocolError) {
	t.Helper()
	saw := "nothing"
	var rejected *http1.ProtocolError
	o := http1.ServerOptions{Reject: func(e *http1.ProtocolError) *httpmsg.Response {
		rejected = e
		return &httpmsg.Response{Status: e.Status, Body: httpmsg.NoBody}
	}}
	c, done := serve(t, o, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		saw = seen(r)
		_, _ = w.WriteResponse(msgtest.Text("ok"))
	}))
	if mode == "at once" {
		_, _ = c.Write([]byte(raw))
	} else {
		for i := range len(raw) {
			if _, err := c.Write([]byte{raw[i]}); err != nil {
				break
			}
		}
	}
	if refusal.Status == 0 {
		_ = c.CloseWrite()
		if got := all(t, c); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || saw != want || rejected != nil {
			t.Errorf("%s: handler saw\n%s, want\n%s\nresponse %q, rejected %v", mode, saw, want, got, rejected)
		}
		return
	}
	got := all(t, c)
	_ = c.Close()
	if !strings.HasPrefix(got, "HTTP/1.1 "+strconv.Itoa(refusal.Status)+" ") || !strings.Contains(got, "\r\nconnection: close\r\n") {
		t.Errorf("%s: response %q, want status %d and a close", mode, got, refusal.Status)
	}
	if saw != "nothing" || rejected == nil || rejected.Details != refusal.Details {
		t.Errorf("%s: handler saw %s; rejected %v, want %v", mode, saw, rejected, refusal)
	}
	if err := <-done; !errors.As(err, &refusal) {
		t.Errorf("%s: Serve returned %v", mode, err)
	}
}
