package http1

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

const browserRequest = "GET /productpage?u=normal&page=2 HTTP/1.1\r\n" +
	"Host: productpage.default.svc.cluster.local:9080\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Cookie: session=eyJ1c2VyIjoidGVzdCJ9.ZsQ1dw.abcdefghijklmnop\r\n" +
	"X-Request-Id: 5f9c3c1e-9f5e-4b7e-8a43-7f8f3f3f3f3f\r\n" +
	"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n" +
	"Connection: keep-alive\r\n\r\n"

const originResponse = "HTTP/1.1 200 OK\r\n" +
	"Content-Type: application/json; charset=utf-8\r\nContent-Length: 1024\r\n" +
	"Date: Mon, 02 Feb 2026 10:00:00 GMT\r\nServer: gunicorn\r\nCache-Control: no-store\r\n" +
	"X-Powered-By: something\r\nConnection: keep-alive\r\n\r\n"

func newRequestParser() *requestParser {
	return &requestParser{fieldParser: fieldParser{limits: limits{DefaultMaxHeadBytes, DefaultMaxHeaders}, request: true}}
}

func newResponseParser() *responseParser {
	return &responseParser{fieldParser: fieldParser{limits: limits{DefaultMaxHeadBytes, DefaultMaxHeaders}}}
}

func mustParse(tb testing.TB, parse func([]byte, *httpmsg.Request) (int, error), b []byte, r *httpmsg.Request) {
	if n, err := parse(b, r); err != nil || n != len(b) {
		tb.Fatalf("parsed %d of %d bytes: %v", n, len(b), err)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	p := newRequestParser()
	var r httpmsg.Request
	raw := []byte(browserRequest)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, p.parse, raw, &r)
	}
}

func BenchmarkParseResponse(b *testing.B) {
	p := newResponseParser()
	var r httpmsg.Request
	var s httpmsg.Response
	raw := []byte(originResponse)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.parse(raw, &s, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteRequest(b *testing.B) {
	p := newRequestParser()
	var r httpmsg.Request
	mustParse(b, p.parse, []byte(browserRequest), &r)
	out := make([]byte, 0, 4<<10)
	var o ClientOptions
	b.ReportAllocs()
	for b.Loop() {
		out = o.appendRequest(out[:0], &r)
	}
}

func BenchmarkWatch(b *testing.B) {
	w := watch{c: &ServerConn{}}
	gone := func() {}
	b.ReportAllocs()
	for b.Loop() {
		w.start(gone)
		w.stop()
	}
}
