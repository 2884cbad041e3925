package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestRequestIsForwardedAndRecorded(t *testing.T) {
	t.Parallel()
	addr := script(t, answer(hello))
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, addr)))
	resp := g.ask("POST /a?b=c HTTP/1.1\r\nhost: x.test\r\ncontent-length: 3\r\n\r\nabc")
	if got := bodyOf(t, resp); resp.StatusCode != 200 || got != "hello" {
		t.Fatalf("got %d %q", resp.StatusCode, got)
	}
	r := g.records.next(t)
	if r.method != "POST" || r.path != "/a?b=c" || r.authority != "x.test" || r.details != "via_upstream" || r.flags != "-" {
		t.Errorf("record %+v", r)
	}
	if r.Request.Bytes != 3 || r.Response.Bytes != 5 || r.Response.Status != 200 || r.Upstream.Endpoint.String() != addr ||
		!r.Upstream.Local.IsValid() || r.Upstream.Attempts != 1 || r.Route != "default" {
		t.Errorf("record %+v", r.Record)
	}
}

// rowsOfLocalReplies is Envoy's table of answers that users search for.
func TestLocalRepliesAreEnvoys(t *testing.T) {
	t.Parallel()
	const reset = "upstream connect error or disconnect/reset before headers. "
	closeAtOnce := func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) }
	wait := func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }
	tests := []struct {
		name    string
		rule    func(t *testing.T) *proxy.Rule
		raw     string
		status  int
		body    string
		flags   string
		details string
		header  [2]string
	}{
		{name: "no route", rule: func(*testing.T) *proxy.Rule { return nil }, status: 404, flags: "NR", details: "route_not_found"},
		{name: "cluster unknown", rule: func(*testing.T) *proxy.Rule { return to(upstream.New("none", upstream.Options{})) }, status: 503, flags: "NC", details: "cluster_not_found"},
		{name: "cluster unknown, configured code", rule: func(*testing.T) *proxy.Rule {
			r := to(upstream.New("none", upstream.Options{}))
			r.ClusterNotFound = 500
			return r
		}, status: 500, flags: "NC", details: "cluster_not_found"},
		{name: "no endpoint", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) }, status: 503, body: "no healthy upstream", flags: "UH", details: "no_healthy_upstream"},
		{
			name: "connect refused", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil, closedPort(t))) }, status: 503,
			body:  reset + "reset reason: remote connection failure",
			flags: "UF", details: "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
		},
		{
			name: "connect refused, retried", rule: func(t *testing.T) *proxy.Rule {
				r := to(cluster(t, nil, closedPort(t)))
				r.Retry = &proxy.Retry{On: proxy.RetryOnConnectFailure, Max: 1}
				return r
			}, status: 503,
			body:  reset + "retried and the latest reset reason: remote connection failure",
			flags: "UF,URX", details: "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
		},
		{
			name: "upstream closes early", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil, script(t, closeAtOnce))) }, status: 503,
			body: reset + "reset reason: connection termination", flags: "UC", details: "upstream_reset_before_response_started{connection_termination}",
		},
		{name: "upstream speaks nonsense", rule: func(t *testing.T) *proxy.Rule {
			return to(cluster(t, nil, script(t, answer("HELO there\r\n\r\n"))))
		}, status: 502, body: reset + "reset reason: protocol error", flags: "UPE", details: "upstream_reset_before_response_started{protocol_error}"},
		{name: "circuit breaker", rule: func(t *testing.T) *proxy.Rule {
			c := cluster(t, func(s *upstream.Spec) { s.Limits.Requests = 1 }, script(t, wait))
			stream, err := c.Open(t.Context(), c.Endpoints().Endpoints()[0], nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stream.Close)
			return to(c)
		}, status: 503, body: reset + "reset reason: overflow", flags: "UO", details: "upstream_reset_before_response_started{overflow}", header: [2]string{"x-envoy-overloaded", "true"}},
		{name: "route timeout", rule: func(t *testing.T) *proxy.Rule {
			r := to(cluster(t, nil, script(t, wait)))
			r.Timeout = 50 * time.Millisecond
			return r
		}, status: 504, body: "upstream request timeout", flags: "UT", details: "response_timeout"},
		{name: "per-try timeout", rule: func(t *testing.T) *proxy.Rule {
			r := to(cluster(t, nil, script(t, wait)))
			r.Retry = &proxy.Retry{On: proxy.RetryOnConnectFailure, Max: 1, PerTry: 50 * time.Millisecond}
			return r
		}, status: 504, body: "upstream request timeout", flags: "UT", details: "upstream_per_try_timeout"},
		{
			name: "gRPC caller", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw:    "POST /s/M HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
			status: 200, flags: "UH", details: "no_healthy_upstream", header: [2]string{"grpc-status", "14"},
		},
		{name: "direct response", rule: func(*testing.T) *proxy.Rule {
			return &proxy.Rule{Direct: &proxy.Direct{Status: 502, Body: "blocked"}}
		}, status: 502, body: "blocked", flags: "-", details: "direct_response"},
		{
			name: "redirect", rule: func(*testing.T) *proxy.Rule { return &proxy.Rule{Redirect: &proxy.Redirect{HTTPS: true}} },
			raw: "GET /p?q HTTP/1.1\r\nhost: x:80\r\n\r\n", status: 301, flags: "-", details: "direct_response", header: [2]string{"location", "https://x/p?q"},
		},
		{
			name: "upgrade not configured", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", status: 403, flags: "-", details: "upgrade_failed",
		},
		{
			name: "CONNECT", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n", status: 403, flags: "-", details: "upgrade_failed",
		},
		{
			name: "OPTIONS *", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", status: 404, flags: "-", details: "absolute_path_rejected",
		},
		{
			name: "NUL in path", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "GET /a%00b HTTP/1.1\r\nhost: x\r\n\r\n", status: 400, flags: "-", details: "path_normalization_failed",
		},
		{
			name: "low version", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "GET / HTTP/1.0\r\n\r\n", status: 426, flags: "DPE", body: "Upgrade Required", details: "low_version",
		},
		{
			name: "no host", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "GET / HTTP/1.1\r\n\r\n", status: 400, flags: "-", details: "missing_host_header",
		},
		{
			name: "codec error", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "GET / HTTP/1.1\r\nhost : x\r\n\r\n", status: 400, body: "Bad Request", flags: "DPE", details: "http1.codec_error",
		},
		{
			name: "too many headers", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil)) },
			raw: "GET / HTTP/1.1\r\nhost: x\r\n" + strings.Repeat("a: b\r\n", 101) + "\r\n", status: 431, body: "Request Header Fields Too Large", flags: "DPE", details: "http1.too_many_headers",
		},
		{
			name: "bad chunk", rule: func(t *testing.T) *proxy.Rule { return to(cluster(t, nil, script(t, wait))) },
			raw: "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", status: 400, body: "Bad Request", flags: "DPE", details: "http1.codec_error",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := httpRig(t, proxy.HTTPSpec{Path: proxy.PathSpec{Normalize: true}, Response: proxy.ResponseSpec{ServerName: "istio-envoy"}}, tt.rule(t))
			if tt.raw == "" {
				tt.raw = "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
			}
			resp := g.ask(tt.raw)
			if got := bodyOf(t, resp); resp.StatusCode != tt.status || got != tt.body {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, tt.status, tt.body)
			}
			if resp.Header.Get("server") != "istio-envoy" || resp.Header.Get("date") == "" {
				t.Errorf("server %q date %q", resp.Header.Get("server"), resp.Header.Get("date"))
			}
			if tt.header[0] != "" && resp.Header.Get(tt.header[0]) != tt.header[1] {
				t.Errorf("%s: got %q, want %q", tt.header[0], resp.Header.Get(tt.header[0]), tt.header[1])
			}
			r := g.records.next(t)
			if r.flags != tt.flags || r.details != tt.details || r.Response.Status != tt.status || !r.Response.Local {
				t.Errorf("record: flags %s details %s status %d local %v, want %s %s", r.flags, r.details, r.Response.Status, r.Response.Local, tt.flags, tt.details)
			}
		})
	}
}

func TestSlowRequestTimesOut(t *testing.T) {
	t.Parallel()
	wait := func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }
	g := httpRig(t, proxy.HTTPSpec{Timeouts: proxy.Timeouts{Request: 30 * time.Millisecond}}, to(cluster(t, nil, script(t, wait))))
	resp := g.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
	r := g.records.next(t)
	if resp.StatusCode != 408 || bodyOf(t, resp) != "request timeout" || r.details != "request_overall_timeout" {
		t.Errorf("got %d, details %s", resp.StatusCode, r.details)
	}
}

func TestStreamIdleTimeoutEndsASilentUpstream(t *testing.T) {
	t.Parallel()
	wait := func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }
	g := httpRig(t, proxy.HTTPSpec{Timeouts: proxy.Timeouts{StreamIdle: 30 * time.Millisecond}}, to(cluster(t, nil, script(t, wait))))
	resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	r := g.records.next(t)
	if resp.StatusCode != 504 || bodyOf(t, resp) != "stream timeout" || r.details != "stream_idle_timeout" || r.flags != "SI" {
		t.Errorf("got %d, details %s flags %s", resp.StatusCode, r.details, r.flags)
	}
}

func TestTimeoutOfASlowRequestStartsAtItsEnd(t *testing.T) {
	t.Parallel()
	wait := func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }
	rule := to(cluster(t, nil, script(t, wait)))
	rule.Timeout = 50 * time.Millisecond
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	c := g.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nabc")
	time.Sleep(100 * time.Millisecond) // longer than the timeout: it must not run yet
	_, _ = io.WriteString(c, "def")
	resp := readResponse(t, bufio.NewReader(c), "POST")
	if r := g.records.next(t); resp.StatusCode != 504 || r.details != "response_timeout" || r.Request.Bytes != 6 {
		t.Errorf("got %d, details %s, %d bytes", resp.StatusCode, r.details, r.Request.Bytes)
	}
}

func TestTimeoutCoversTheResponsesBody(t *testing.T) {
	t.Parallel()
	half := func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
		_, _ = io.Copy(io.Discard, r)
	}
	rule := to(cluster(t, nil, script(t, half)))
	rule.Timeout = patience
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	c := g.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	b, _ := io.ReadAll(c)
	if r := g.records.next(t); !strings.HasSuffix(string(b), "abc") || r.flags != "UT" || r.Response.Status != 200 {
		t.Errorf("got %q, flags %s status %d", b, r.flags, r.Response.Status)
	}
}

func TestDownstreamThatLeavesCancelsTheAttempt(t *testing.T) {
	t.Parallel()
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	addr := script(t, func(_ int, _ net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		close(arrived)
		_, _ = io.Copy(io.Discard, r) // ends when the proxy gives the connection up
		close(cancelled)
	})
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, addr)))
	c := g.dial()
	_, _ = io.WriteString(c, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
	<-arrived
	_ = c.Close()
	r := g.records.next(t)
	if r.flags != "DC" || r.details != "downstream_remote_disconnect" || r.Response.Status != 0 {
		t.Errorf("got flags %s details %s status %d", r.flags, r.details, r.Response.Status)
	}
	<-cancelled
}

func TestRetryReplaysTheBodyElsewhere(t *testing.T) {
	t.Parallel()
	bad := script(t, func(_ int, _ net.Conn, r *bufio.Reader) { // takes the request, and dies
		if req, err := http.ReadRequest(r); err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
		}
	})
	bodies := make(chan string, 1)
	good := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		b, _ := io.ReadAll(req.Body)
		bodies <- req.Header.Get("x-envoy-attempt-count") + string(b)
		_, _ = io.WriteString(c, hello)
	})
	rule := to(cluster(t, func(s *upstream.Spec) { s.Policy.Kind = lb.RoundRobin }, bad, good))
	rule.Retry = &proxy.Retry{On: proxy.RetryOnReset, Max: 3, PreviousHosts: true, HostAttempts: 5}
	rule.Edits.IncludeAttemptCount = true
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	for range 2 {
		resp := g.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\nhello world")
		if resp.StatusCode != 200 {
			t.Fatalf("got %d %s", resp.StatusCode, bodyOf(t, resp))
		}
		r := g.records.next(t)
		if got := <-bodies; got[1:] != "hello world" || got[0] != byte('0'+r.Upstream.Attempts) {
			t.Errorf("upstream got %q at attempt %d", got, r.Upstream.Attempts)
		}
	}
}

func TestKeepAliveServesManyRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	conns := make(chan int, 100)
	addr := script(t, func(n int, c net.Conn, r *bufio.Reader) {
		conns <- n
		answer(hello)(n, c, r)
	})
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, addr)))
	c := g.dial()
	r := bufio.NewReader(c)
	for range 50 {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
		if resp := readResponse(t, r, "GET"); resp.StatusCode != 200 {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
	if len(conns) != 1 {
		t.Errorf("upstream saw %d connections, want 1", len(conns))
	}
}
