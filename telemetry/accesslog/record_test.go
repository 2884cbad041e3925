package accesslog_test

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// head is a message head made of name and value pairs.
type head []string

func (h head) Get(name string) (string, bool) {
	for i := 0; i+1 < len(h); i += 2 {
		if h[i] == name {
			return h[i+1], true
		}
	}
	return "", false
}

var start = time.Date(2026, 3, 14, 15, 9, 26, 535_897_932, time.UTC)

func outboundHTTP() *flow.Record {
	return &flow.Record{
		Conn: &flow.Conn{
			ID: 77, Direction: flow.Outbound, Start: start,
			Remote:      netip.MustParseAddrPort("10.0.0.5:40312"),
			Local:       netip.MustParseAddrPort("127.0.0.1:15001"),
			OriginalDst: netip.MustParseAddrPort("10.96.7.1:9080"),
			Listener:    "0.0.0.0_9080", Chain: "default",
		},
		Start: start, Duration: 14*time.Millisecond + 900*time.Microsecond, HTTP: true,
		Request: flow.Request{
			Method: "GET", Path: "/reviews/7?lang=en&flat", Authority: "reviews:9080",
			Protocol: "HTTP/1.1", Bytes: 12, Complete: 2 * time.Millisecond,
			Head: head{"user-agent", "curl/8.9", "x-request-id", "8f9c2f6e-1b", "x-forwarded-proto", "http"},
		},
		Response: flow.Response{
			Status: 200, Bytes: 375, FirstByte: 13 * time.Millisecond,
			Head: head{"x-envoy-upstream-service-time", "13", "content-type", "application/json"},
		},
		Upstream: flow.Upstream{
			Cluster:  "outbound|9080||reviews.shop.svc.cluster.local",
			Endpoint: netip.MustParseAddrPort("10.0.0.9:9080"),
			Local:    netip.MustParseAddrPort("10.0.0.5:51000"),
			Attempts: 1, TLS: true,
			Peer: &flow.Identity{
				URIs: []string{"spiffe://cluster.local/ns/shop/sa/reviews"}, Hash: "ab01",
				Serial: "5f", NotAfter: start.Add(24 * time.Hour),
			},
		},
		Route: "default", Details: "via_upstream",
	}
}

func inboundMTLS() *flow.Record {
	r := outboundHTTP()
	r.Conn = &flow.Conn{
		ID: 78, Direction: flow.Inbound, Start: start,
		Remote:      netip.MustParseAddrPort("[::ffff:10.0.0.5]:40312"),
		Local:       netip.MustParseAddrPort("10.0.0.9:15006"),
		OriginalDst: netip.MustParseAddrPort("10.0.0.9:9080"),
		Chain:       "0.0.0.0_9080",
		TLS: flow.TLS{
			SNI:         "outbound_.9080_._.reviews.shop.svc.cluster.local",
			Established: true, Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256,
			Peer: flow.Identity{
				URIs: []string{"spiffe://cluster.local/ns/shop/sa/web"}, DNS: []string{"a", "b"},
				Subject: "", Hash: "cd02", Serial: "60", NotAfter: start.Add(time.Hour),
			},
			Own: flow.Identity{URIs: []string{"spiffe://cluster.local/ns/shop/sa/reviews"}, Hash: "ab01"},
		},
	}
	return r
}

func refused() *flow.Record {
	r := outboundHTTP()
	r.Response = flow.Response{Status: 503, Bytes: 19, Local: true, FirstByte: time.Millisecond}
	r.Upstream.Local = netip.AddrPort{}
	r.Upstream.FailureReason = "delayed connect error: Connection refused"
	r.Upstream.Attempts = 3
	r.Details = "upstream_reset_before_response_started{remote connection failure}"
	r.Flags.Set(flow.UpstreamRetryLimitExceeded)
	r.Flags.Set(flow.UpstreamConnectionFailure)
	return r
}

func tcp() *flow.Record {
	return &flow.Record{
		Conn: &flow.Conn{
			ID:     79,
			Remote: netip.MustParseAddrPort("[fd00::5]:40312"), Local: netip.MustParseAddrPort("[fd00::9]:15006"),
			OriginalDst: netip.MustParseAddrPort("[fd00::9]:3306"),
		},
		Start: start, Duration: 30 * time.Second,
		Request: flow.Request{Bytes: 178}, Response: flow.Response{Bytes: 300},
		Upstream: flow.Upstream{
			Cluster: "inbound|3306||", Endpoint: netip.MustParseAddrPort("[fd00::9]:3306"),
			Local: netip.MustParseAddrPort("[::6]:43000"),
		},
		Termination: "rbac_access_denied_matched_policy[none]",
	}
}
