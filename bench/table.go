package bench

import (
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/load"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

// table lists the cases in the order in which they are taken. Names and metrics
// are a contract with whoever reads the results.
func table() []*benchCase {
	return slices.Concat(http1Cases(), http2Cases(), latencyCases(), connectionCases(), configurationCases())
}

func closed(protocol string, conns, streams, count int) load.Shape {
	return load.Shape{Protocol: protocol, Conns: conns, Streams: streams, Requests: count}
}

func full(protocol string, conns, streams int) load.Shape {
	return load.Shape{Protocol: protocol, Conns: conns, Streams: streams, Duration: 3 * time.Second}
}

func http1Cases() []*benchCase {
	one := func(name, about string, legs []leg, count int) *benchCase {
		return &benchCase{
			name: name, about: about, subjects: proxies, legs: legs, backend: echo.HTTP1, run: inRounds,
			turn: requests(plain, closed(load.HTTP1, 16, 1, count)),
		}
	}
	return []*benchCase{
		one("http1-hop", "HTTP/1.1 through one proxy in plain text, 16 connections, answers of 1 KB", hop(feed.HTTP1), 40_000),
		one("http1-mtls-pair", "HTTP/1.1 through two proxies with mutual TLS between them, 16 connections, 1 KB", pair(feed.HTTP1), 20_000),
		one("http1-client-only", "HTTP/1.1 through the client's proxy alone, 16 connections, 1 KB", []leg{{role: feed.Outbound, protocol: feed.HTTP1}}, 40_000),
		one("http1-server-only", "HTTP/1.1 through the server's proxy alone, in plain text, 16 connections, 1 KB", server(false), 40_000),
		{
			name: "http1-max", about: "HTTP/1.1 through one proxy as fast as it goes, 64 connections, 1 KB", subjects: subjects,
			legs: hop(feed.HTTP1), backend: echo.HTTP1, run: inRounds, turn: atMost(plain, full(load.HTTP1, 64, 1)),
		},
	}
}

func http2Cases() []*benchCase {
	withHTTP2 := []string{report.Outrigger, report.Envoy, report.HAProxy}
	one := func(name, about string, legs []leg, s load.Shape) *benchCase {
		return &benchCase{
			name: name, about: about, subjects: withHTTP2, legs: legs, backend: echo.HTTP2, run: inRounds, turn: requests(plain, s),
		}
	}
	cases := []*benchCase{
		one("http2-hop", "HTTP/2 through one proxy in plain text, 4 connections of 16 streams, 1 KB", hop(feed.HTTP2), closed(load.HTTP2, 4, 16, 60_000)),
		one("http2-hop-16x1", "the same with 16 connections of one stream", hop(feed.HTTP2), closed(load.HTTP2, 16, 1, 40_000)),
		one("http2-1mb", "HTTP/2 through one proxy, answers of 1 MB, 4 connections of 4 streams", hop(feed.HTTP2), closed(load.HTTP2, 4, 4, 1_000)),
		one("http2-mtls-pair", "HTTP/2 through two proxies with mutual TLS between them, 4 connections of 16 streams, 1 KB", pair(feed.HTTP2), closed(load.HTTP2, 4, 16, 30_000)),
		one("grpc-mtls-pair", "unary gRPC through two proxies with mutual TLS between them, 64 calls in flight, 1 KB", pair(feed.HTTP2), closed(load.GRPC, 4, 16, 30_000)),
		{
			name: "http2-max", about: "HTTP/2 through one proxy as fast as it goes, 4 connections of 16 streams, 1 KB",
			subjects: append([]string{report.Direct}, withHTTP2...),
			legs:     hop(feed.HTTP2), backend: echo.HTTP2, run: inRounds, turn: atMost(plain, full(load.HTTP2, 4, 16)),
		},
	}
	cases[2].turn = requests(megabyte, closed(load.HTTP2, 4, 4, 1_000))
	grpc := cases[4]
	grpc.backend, grpc.subjects = echo.GRPC, proxies
	grpc.turn = requests(grpcCall, closed(load.GRPC, 4, 16, 30_000))
	return cases
}

// The cases of an open loop, which are taken together.
const (
	rateCase = "rate-1000"
	idleCase = "idle-10k"
)

func latencyCases() []*benchCase {
	return []*benchCase{
		{
			name: rateCase, about: "1,000 requests a second at random times through two proxies with mutual TLS, HTTP/1.1, 16 connections: how much later answers come than without",
			subjects: subjects, legs: pair(feed.HTTP1), backend: echo.HTTP1, run: besideIdle, turn: atRate, compare: addLatency,
		},
		{
			name: idleCase, about: "rate-1000 beside 10,000 idle connections, each turn right beside one of rate-1000",
			subjects: append([]string{report.Direct}, sidecars...),
			legs:     pair(feed.HTTP1), backend: echo.HTTP1, run: besideIdle, turn: amongIdle,
		},
	}
}

func connectionCases() []*benchCase {
	tcp := []string{report.Outrigger, report.Envoy, report.HAProxy}
	one := func(name, about string, who []string, legs []leg, to echo.Kind) *benchCase {
		return &benchCase{name: name, about: about, subjects: who, legs: legs, backend: to, run: inRounds}
	}
	full := one("new-mtls", "new connections with a full mutual TLS handshake and one request each", proxies, server(true), echo.HTTP1)
	full.turn = handshakes(false, 1_500)
	resumed := one("new-mtls-resumed", "new connections with a resumed TLS session and one request each", proxies, server(true), echo.HTTP1)
	resumed.turn = handshakes(true, 1_500)
	bulkPlain := one("tcp-bulk", "bytes over one TCP connection through one proxy in plain text", append([]string{report.Direct}, tcp...), hop(feed.TCP), echo.Sink)
	bulkPlain.turn = bulk(3_000)
	bulkTLS := one("tcp-mtls-bulk", "bytes over one TCP connection through two proxies with mutual TLS", tcp, pair(feed.TCP), echo.Sink)
	bulkTLS.turn = bulk(1_200)
	trips := one("tcp-rr", "64 bytes to and fro over 16 TCP connections through one proxy", append([]string{report.Direct}, tcp...), hop(feed.TCP), echo.TCP)
	trips.turn = requests(bytesOnly, closed(load.TCP, 16, 1, 60_000))
	idlePlain := one("idle-plain", "memory of one idle HTTP/1.1 connection in plain text", proxies, hop(feed.HTTP1), echo.HTTP1)
	idlePlain.run = idleMemory(false)
	idleTLS := one("idle-mtls", "memory of one idle HTTP/1.1 connection with mutual TLS", proxies, server(true), echo.HTTP1)
	idleTLS.run = idleMemory(true)
	return []*benchCase{full, resumed, bulkPlain, bulkTLS, trips, idlePlain, idleTLS}
}
