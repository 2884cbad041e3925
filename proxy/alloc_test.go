//go:build !race

package proxy_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestChainMatchDoesNotAllocate(t *testing.T) {
	set, err := proxy.NewChainSet([]*proxy.Chain{
		chain("a", proxy.Criteria{DestinationPort: 443, DestinationPrefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ServerNames: []string{"*.a.com"}, TransportProtocol: "tls", ApplicationProtocols: []string{"h2"}}),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := facts("10.1.1.1:443", "www.b.a.com", "tls", "istio", "h2")
	if set.Match(f) == nil {
		t.Fatal("no match")
	}
	if n := testing.AllocsPerRun(100, func() { set.Match(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestExchangeOnPooledConnectionsDoesNotAllocate(t *testing.T) {
	h := proxy.NewHTTP(proxy.HTTPSpec{
		Request: proxy.RequestSpec{GenerateRequestID: true}, Path: proxy.PathSpec{Normalize: true, MergeSlashes: true},
	})
	rule := to(cluster(t, nil, script(t, rawAnswer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello"))))
	rule.Edits.IncludeAttemptCount = true
	rule.Retry = &proxy.Retry{On: proxy.RetryOnConnectFailure, Max: 2}
	h.SetRoutes(rules{rule})
	g := newRig(t, h, newRecords())
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf, request := make([]byte, 16<<10), []byte(benchRequest)
	once := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	once()
	// Pools that the collector emptied may be refilled now and then.
	if n := testing.AllocsPerRun(500, once); n > 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

func TestExchangeOverHTTP2AllocatesLittle(t *testing.T) {
	h2 := func(s *upstream.Spec) { s.HTTP.Protocol = upstream.HTTP2 }
	serve := func(rule *proxy.Rule) string {
		h := proxy.NewHTTP(proxy.HTTPSpec{Request: proxy.RequestSpec{GenerateRequestID: true}})
		h.SetRoutes(rules{rule})
		return newRig(t, h, newRecords()).addr
	}
	origin := serve(to(cluster(t, nil, script(t, rawAnswer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")))))
	c := cluster(t, h2, serve(to(cluster(t, h2, origin))))
	ep := c.Endpoints().Endpoints()[0]
	var body [64]byte
	r := &httpmsg.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Body: httpmsg.NoBody}
	once := func() {
		s, err := c.Open(t.Context(), ep, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.RoundTrip(r, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = resp.Body.Read(body[:])
		}
		_ = resp.Body.Close()
		s.Close()
	}
	once()
	// Two proxies and a client: each has a few at most.
	if n := testing.AllocsPerRun(500, once); n > 6 {
		t.Errorf("%v allocations per exchange", n)
	}
}
