package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestAResponseThatStopsIsIdle(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"length": "content-length: 9\r\n\r\nab", "chunks": "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head)
				_, _ = io.Copy(io.Discard, r)
			})
			g := httpRig(t, proxy.HTTPSpec{Timeouts: proxy.Timeouts{StreamIdle: patience}}, to(cluster(t, nil, addr)))
			c := g.dial()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
			if b, err := io.ReadAll(c); !strings.Contains(string(b), "ab") || strings.HasSuffix(string(b), "0\r\n\r\n") || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
			if r := g.records.next(t); r.flags != "SI" || r.details != "stream_idle_timeout" || r.Response.Status != 200 {
				t.Errorf("flags %s details %s status %d", r.flags, r.details, r.Response.Status)
			}
		})
	}
}

func TestARulesIdleTimeoutCoversTheRequest(t *testing.T) {
	t.Parallel()
	rule := to(cluster(t, nil, script(t, answer(hello))))
	idle := patience
	rule.IdleTimeout = &idle
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	resp := g.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab")
	if got := bodyOf(t, resp); resp.StatusCode != 408 || got != "stream timeout" || !resp.Close {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
	if r := g.records.next(t); r.flags != "SI" || r.details != "stream_idle_timeout" || r.Request.Bytes != 2 {
		t.Errorf("flags %s details %s bytes %d", r.flags, r.details, r.Request.Bytes)
	}
}

func TestAnExchangeThatTakesTooLongEnds(t *testing.T) {
	t.Parallel()
	rule := to(cluster(t, nil, script(t, func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })))
	rule.MaxDuration = 100 * time.Millisecond
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	resp := g.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if got := bodyOf(t, resp); resp.StatusCode != 504 || got != "downstream duration timeout" {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
	if r := g.records.next(t); r.details != "max_duration_timeout" {
		t.Errorf("details %s", r.details)
	}
}

func TestResetsArePassedOn(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = r.ReadByte()
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	g := tcpRig(t, nil, addr)
	c := g.dial()
	_, _ = io.WriteString(c, "abc")
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if r := g.records.next(t); r.flags != "UR" || r.Termination != "" {
		t.Errorf("flags %s termination %q", r.flags, r.Termination)
	}
}

func TestAttemptsCountWhereThereIsNoEndpoint(t *testing.T) {
	t.Parallel()
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil)))
	_ = g.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if r := g.records.next(t); r.flags != "UH" || r.Upstream.Attempts != 1 || r.Upstream.Cluster == "" {
		t.Errorf("flags %s attempts %d cluster %q", r.flags, r.Upstream.Attempts, r.Upstream.Cluster)
	}
	g = httpRig(t, proxy.HTTPSpec{}, to(upstream.New("nowhere", upstream.Options{})))
	_ = g.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if r := g.records.next(t); r.flags != "NC" || r.Upstream.Attempts != 0 || r.Upstream.Cluster != "" {
		t.Errorf("flags %s attempts %d cluster %q", r.flags, r.Upstream.Attempts, r.Upstream.Cluster)
	}
}

func TestUpgradesAreRetriedAndRefused(t *testing.T) {
	t.Parallel()
	const ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
	rule := to(cluster(t, nil, closedPort(t)))
	rule.Retry = &proxy.Retry{On: proxy.RetryOnConnectFailure, Max: 2}
	g := httpRig(t, proxy.HTTPSpec{Upgrades: []string{"websocket"}}, rule)
	resp := g.ask(ask)
	if r := g.records.next(t); resp.StatusCode != 503 || !resp.Close || r.Upstream.Attempts != 3 || r.flags != "URX,UF" && r.flags != "UF,URX" {
		t.Errorf("got %d, attempts %d, flags %s", resp.StatusCode, r.Upstream.Attempts, r.flags)
	}
	g = httpRig(t, proxy.HTTPSpec{}, to(cluster(t, func(s *upstream.Spec) { s.Policy = lb.Policy{} }, closedPort(t))))
	resp = g.ask(ask)
	if r := g.records.next(t); resp.StatusCode != 403 || !resp.Close || r.details != "upgrade_failed" || r.Upstream.Cluster == "" {
		t.Errorf("got %d, details %s, cluster %q", resp.StatusCode, r.details, r.Upstream.Cluster)
	}
	g = httpRig(t, proxy.HTTPSpec{}, nil)
	resp = g.ask("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")
	if r := g.records.next(t); resp.StatusCode != 404 || !resp.Close || r.flags != "NR" {
		t.Errorf("got %d, flags %s", resp.StatusCode, r.flags)
	}
}
