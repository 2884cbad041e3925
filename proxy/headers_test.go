package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
)

// echoHead is an upstream that sends the request's head back as its body.
func echoHead(extra string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			var head strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
				head.WriteString(strings.TrimRight(line, "\r\n") + "\n")
			}
			body := head.String()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+extra+"transfer-encoding: chunked\r\n\r\n"+
				hexLen(body)+"\r\n"+body+"\r\n0\r\n\r\n")
		}
	}
}

func hexLen(s string) string {
	const digits = "0123456789abcdef"
	n := len(s)
	out := ""
	for ; n > 0; n >>= 4 {
		out = string(digits[n&15]) + out
	}
	return out
}

func TestRequestHeadersAreEnvoysInItsOrder(t *testing.T) {
	t.Parallel()
	rule := to(cluster(t, nil, script(t, echoHead(""))))
	rule.Edits = proxy.RuleEdits{
		IncludeAttemptCount: true, Decorator: "reviews:80/*",
		Request: []*proxy.HeaderEdits{{Remove: []string{"x-gone"}, Set: []proxy.HeaderEdit{
			{Name: "x-added", Value: "1"},
			{Name: "x-over", Value: "new", Action: proxy.OverwriteOrAdd},
			{Name: "x-path", Format: func(x *proxy.Exchange) string { return x.Request.Path }},
		}}},
	}
	rule.Rewrite = &proxy.Rewrite{Path: &proxy.PathRewrite{Matched: "/api", Prefix: "/v2"}, Host: "other.test"}
	rule.Timeout = 1e9
	g := httpRig(t, proxy.HTTPSpec{
		Direction: flow.Outbound, Decorate: true, Request: proxy.RequestSpec{GenerateRequestID: true, StripPeerMetadata: true},
	}, rule)
	resp := g.ask("GET /api/x?q=1 HTTP/1.1\r\nHost: a.test\r\nX-Over: old\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n" +
		"x-envoy-internal: true\r\nx-envoy-retry-on: 5xx\r\nX-Envoy-Max-Retries: 9\r\nx-forwarded-client-cert: By=me\r\nAccept: */*\r\n\r\n")
	want := `GET /v2/x?q=1 HTTP/1.1
host: other.test
accept: */*
x-forwarded-proto: http
x-request-id: ID
x-envoy-decorator-operation: reviews:80/*
x-envoy-expected-rq-timeout-ms: 1000
x-envoy-attempt-count: 1
x-over: new
x-added: 1
x-path: /api/x?q=1
x-envoy-original-host: a.test
x-envoy-original-path: /api/x?q=1
`
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	if got := id.ReplaceAllString(bodyOf(t, resp), "ID"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r := g.records.next(t)
	if got, _ := r.header.Get("x-envoy-original-path"); r.path != "/v2/x?q=1" || got != "/api/x?q=1" {
		t.Errorf("record has path %q, original %q", r.path, got)
	}
}

func TestGivenRequestIDIsKept(t *testing.T) {
	t.Parallel()
	g := httpRig(t, proxy.HTTPSpec{Request: proxy.RequestSpec{GenerateRequestID: true}}, to(cluster(t, nil, script(t, echoHead("")))))
	got := bodyOf(t, g.ask("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\nx-forwarded-proto: https\r\n\r\n"))
	if !strings.Contains(got, "x-request-id: mine\n") || strings.Count(got, "x-request-id") != 1 || strings.Contains(got, "proto: http\n") {
		t.Errorf("got %s", got)
	}
}

func TestResponseHeadersAreEnvoys(t *testing.T) {
	t.Parallel()
	extra := "server: gunicorn\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\nkeep-alive: 9\r\nx-envoy-decorator-operation: theirs\r\n" +
		"x-envoy-peer-metadata: CgE\r\nx-envoy-peer-metadata-id: x\r\n"
	tests := []struct {
		name   string
		spec   proxy.HTTPSpec
		server string
		op     string
		peer   string
	}{
		{"outbound", proxy.HTTPSpec{Direction: flow.Outbound, Decorate: true, Request: proxy.RequestSpec{StripPeerMetadata: true}, Response: proxy.ResponseSpec{ServerName: "istio-envoy"}}, "istio-envoy", "", ""},
		{"inbound", proxy.HTTPSpec{Direction: flow.Inbound, Decorate: true, Request: proxy.RequestSpec{StripPeerMetadata: true}, Response: proxy.ResponseSpec{ServerName: "istio-envoy"}}, "istio-envoy", "ours", "CgE"},
		{"server passed through", proxy.HTTPSpec{Direction: flow.Outbound, Response: proxy.ResponseSpec{ServerHeader: proxy.ServerPassThrough}}, "gunicorn", "theirs", "CgE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rule := to(cluster(t, nil, script(t, echoHead(extra))))
			rule.Edits.Decorator = "ours"
			resp := httpRig(t, tt.spec, rule).ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
			if got := resp.Header.Get("server"); got != tt.server {
				t.Errorf("server %q", got)
			}
			if got := resp.Header.Get("x-envoy-decorator-operation"); got != tt.op {
				t.Errorf("decorator %q", got)
			}
			if got := resp.Header.Get("x-envoy-peer-metadata"); got != tt.peer {
				t.Errorf("peer metadata %q", got)
			}
			if resp.Header.Get("date") != "Mon, 01 Jan 2024 00:00:00 GMT" || resp.Header.Get("x-envoy-upstream-service-time") == "" || resp.Header.Get("keep-alive") != "" {
				t.Errorf("got %v", resp.Header)
			}
		})
	}
}

func TestInboundStripsWhatOnlySidecarsShouldSee(t *testing.T) {
	t.Parallel()
	g := httpRig(t, proxy.HTTPSpec{Direction: flow.Inbound, Decorate: true, Request: proxy.RequestSpec{StripPeerMetadata: true}}, to(cluster(t, nil, script(t, echoHead("")))))
	got := bodyOf(t, g.ask("GET / HTTP/1.1\r\nhost: a\r\nx-envoy-peer-metadata: CgE\r\nx-envoy-peer-metadata-id: x\r\nx-envoy-decorator-operation: op\r\nx-envoy-attempt-count: 2\r\n\r\n"))
	if want := "GET / HTTP/1.1\nhost: a\nx-envoy-attempt-count: 2\nx-forwarded-proto: http\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWebsocketPassesWhereConfigured(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || !strings.EqualFold(req.Header.Get("upgrade"), "websocket") {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi")
		_, _ = io.Copy(c, r)
	})
	g := httpRig(t, proxy.HTTPSpec{Upgrades: []string{"websocket"}}, to(cluster(t, nil, addr)))
	c := g.dial()
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nhost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("upgrade") != "websocket" {
		t.Fatalf("got %+v, %v", resp, err)
	}
	_, _ = io.WriteString(c, " there")
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(r); string(b) != "hi there" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if rec := g.records.next(t); rec.Response.Status != 101 || rec.flags != "DC" || rec.Response.Bytes != 8 || rec.Request.Bytes != 6 {
		t.Errorf("status %d flags %s bytes %d", rec.Response.Status, rec.flags, rec.Response.Bytes)
	}
}

type denyAll struct{ seen *int }

func (d denyAll) Request(x *proxy.Exchange) *proxy.Reply {
	return &proxy.Reply{Status: 403, Body: "RBAC: access denied", Details: "rbac access denied"}
}

func (d denyAll) Response(x *proxy.Exchange) { *d.seen = x.Response.Status }

func TestFiltersAnswerBeforeTheMissingRoute(t *testing.T) {
	t.Parallel()
	seen := 0
	g := httpRig(t, proxy.HTTPSpec{Filters: []proxy.Installed{{Filter: denyAll{&seen}}}}, nil)
	resp := g.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	r := g.records.next(t)
	if resp.StatusCode != 403 || bodyOf(t, resp) != "RBAC: access denied" || seen != 403 || r.details != "rbac_access_denied" || r.flags != "-" {
		t.Errorf("got %d, filter saw %d, details %s flags %s", resp.StatusCode, seen, r.details, r.flags)
	}
}
