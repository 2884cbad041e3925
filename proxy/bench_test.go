package proxy_test

import (
	"bufio"
	"net"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy"
)

// rawAnswer is an upstream without garbage of its own: it answers every head that
// ends a read.
func rawAnswer(text string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, _ *bufio.Reader) {
		buf, reply := make([]byte, 16<<10), []byte(text)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(reply); err != nil {
				return
			}
		}
	}
}

const benchRequest = "GET /bench?x=1 HTTP/1.1\r\nhost: reviews.default.svc.cluster.local\r\nuser-agent: bench\r\naccept: */*\r\n\r\n"

func BenchmarkExchange(b *testing.B) {
	rec := proxy.HTTPSpec{
		Request: proxy.RequestSpec{GenerateRequestID: true}, Path: proxy.PathSpec{Normalize: true},
	}
	h := proxy.NewHTTP(rec)
	rule := to(cluster(b, nil, script(b, rawAnswer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\nhello"))))
	rule.Edits.IncludeAttemptCount = true
	rule.Retry = &proxy.Retry{On: proxy.RetryOnConnectFailure, Max: 2}
	h.SetRoutes(rules{rule})
	g := newRig(b, h, newRecords())
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf, request := make([]byte, 16<<10), []byte(benchRequest)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDirect is the same without a proxy, to subtract.
func BenchmarkDirect(b *testing.B) {
	addr := script(b, rawAnswer(hello))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf, request := make([]byte, 16<<10), []byte(benchRequest)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Write(request)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
