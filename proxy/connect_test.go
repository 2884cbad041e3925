package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// echo is a TCP server that answers until its client ends.
func echo(t testing.TB) string {
	return script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = io.Copy(c, r)
		_ = c.(*net.TCPConn).CloseWrite()
	})
}

// terminating is a rule that ends CONNECT in a cluster.
func terminating(c *upstream.Cluster) *proxy.Rule {
	rule := to(c)
	rule.Tunnels = proxy.RuleTunnels{Upgrades: map[string]bool{"connect": true}, Terminate: true}
	return rule
}

const connect = "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n"

// opened sends CONNECT, with what may follow it at once, and reads the 200.
func opened(t *testing.T, c net.Conn, early string) *bufio.Reader {
	t.Helper()
	_, _ = io.WriteString(c, connect+early)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("got %v, %v", resp, err)
	}
	if h := resp.Header; len(resp.TransferEncoding) > 0 || h.Get("content-length") != "" || h.Get("x-envoy-upstream-service-time") != "" {
		t.Errorf("head of a tunnel: %v", h)
	}
	return r
}

// tells writes to a tunnel and expects the echo.
func tells(t *testing.T, c io.Writer, r io.Reader, text string) {
	t.Helper()
	_, _ = io.WriteString(c, text)
	got := make([]byte, len(text))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != text {
		t.Fatalf("got %d of %d bytes back, %v", n, len(text), err)
	}
}

func TestConnectEndsInTCPOverEveryHop(t *testing.T) {
	t.Parallel()
	hop := func(edit func(*upstream.Spec)) func(t *testing.T, next *rig) *rig {
		return func(t *testing.T, next *rig) *rig {
			return httpRig(t, proxy.HTTPSpec{Upgrades: []string{"connect"}}, to(cluster(t, edit, next.addr)))
		}
	}
	for name, before := range map[string]func(*testing.T, *rig) *rig{
		"directly":              func(_ *testing.T, last *rig) *rig { return last },
		"forwarded by HTTP/1.1": hop(nil),
		"forwarded by HTTP/2":   hop(func(s *upstream.Spec) { s.HTTP.Protocol = upstream.HTTP2 }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			last := httpRig(t, proxy.HTTPSpec{}, terminating(cluster(t, nil, echo(t))))
			first := before(t, last)
			c := first.dial()
			r := opened(t, c, "early")
			tells(t, c, r, "") // what came with the head is echoed, too
			early := make([]byte, 5)
			if _, err := io.ReadFull(r, early); err != nil || string(early) != "early" {
				t.Fatalf("got %q, %v", early, err)
			}
			tells(t, c, r, strings.Repeat("x", 1<<10))
			go func() { _, _ = io.WriteString(c, strings.Repeat("y", 1<<20)) }()
			if n, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
				t.Fatalf("%d of the bulk came back, %v", n, err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("after our end: %q, %v", rest, err)
			}
			const all = 5 + 1<<10 + 1<<20
			rec := last.records.next(t)
			if rec.method != "CONNECT" || rec.authority != "db.example:5432" || rec.Response.Status != 200 || rec.Request.Bytes != all || rec.Response.Bytes != all {
				t.Errorf("recorded %s %s %d, %d up, %d down, %s %s", rec.method, rec.authority, rec.Response.Status, rec.Request.Bytes, rec.Response.Bytes, rec.flags, rec.details)
			}
			if !rec.Upstream.Endpoint.IsValid() || !rec.Upstream.Local.IsValid() || rec.Upstream.Attempts != 1 {
				t.Errorf("recorded upstream %+v", rec.Upstream)
			}
		})
	}
}

func TestAnUpstreamThatEndsFirstLeavesTheOtherDirection(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 1)
	g := httpRig(t, proxy.HTTPSpec{}, terminating(cluster(t, nil, script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "bye")
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(r)
		heard <- string(b)
	}))))
	c := g.dial()
	r := opened(t, c, "")
	if got, err := io.ReadAll(r); string(got) != "bye" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	_, _ = io.WriteString(c, "one more thing")
	_ = c.(*net.TCPConn).CloseWrite()
	if got := <-heard; got != "one more thing" {
		t.Errorf("the upstream heard %q", got)
	}
	if rec := g.records.next(t); rec.flags != "-" || rec.details != "via_upstream" {
		t.Errorf("recorded %s %s", rec.flags, rec.details)
	}
}

func TestConnectsThatCannotBeServed(t *testing.T) {
	t.Parallel()
	dead := func(t *testing.T) *upstream.Cluster { return cluster(t, nil, closedPort(t)) }
	for _, tt := range []struct {
		name   string
		rule   func(t *testing.T) *proxy.Rule
		status int
		flags  string
		tries  int
	}{
		{"no route", func(*testing.T) *proxy.Rule { return nil }, 404, "NR", 0},
		{"not switched on", func(t *testing.T) *proxy.Rule { return to(dead(t)) }, 403, "-", 0},
		{"switched off by the rule", func(t *testing.T) *proxy.Rule {
			r := terminating(dead(t))
			r.Tunnels.Upgrades["connect"] = false
			return r
		}, 403, "-", 0},
		{"nobody listens", func(t *testing.T) *proxy.Rule { return terminating(dead(t)) }, 503, "UF", 1},
		{"nobody listens, tried again", func(t *testing.T) *proxy.Rule {
			r := terminating(dead(t))
			r.Retry = &proxy.Retry{On: proxy.RetryOnConnectFailure, Max: 2}
			return r
		}, 503, "UF,URX", 3},
		{"no endpoint", func(t *testing.T) *proxy.Rule { return terminating(cluster(t, nil)) }, 503, "UH", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := httpRig(t, proxy.HTTPSpec{}, tt.rule(t))
			c := g.dial()
			_, _ = io.WriteString(c, connect+"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
			r := bufio.NewReader(c)
			resp := readResponse(t, r, "CONNECT")
			if resp.StatusCode != tt.status || !resp.Close {
				t.Errorf("got %d, close %t", resp.StatusCode, resp.Close)
			}
			if rest, _ := io.ReadAll(r); len(rest) > 0 {
				t.Errorf("what followed the refused CONNECT was answered: %q", rest)
			}
			if rec := g.records.next(t); rec.flags != tt.flags || rec.Upstream.Attempts != tt.tries {
				t.Errorf("recorded %s, %d attempts", rec.flags, rec.Upstream.Attempts)
			}
		})
	}
}

func TestTheRuleDecidesAboutUpgrades(t *testing.T) {
	t.Parallel()
	const ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: WebSocket\r\n\r\n"
	for name, tt := range map[string]struct {
		chain []string
		rule  map[string]bool
		want  int
	}{
		"on in both":          {[]string{"websocket"}, map[string]bool{"websocket": true}, 426},
		"off in the rule":     {[]string{"websocket"}, map[string]bool{"websocket": false}, 403},
		"on in the rule":      {nil, map[string]bool{"websocket": true}, 426},
		"another in the rule": {[]string{"websocket"}, map[string]bool{"foo": false}, 426},
		"in neither":          {nil, nil, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule := to(cluster(t, nil, script(t, answer("HTTP/1.1 426 No\r\ncontent-length: 0\r\n\r\n"))))
			rule.Tunnels.Upgrades = tt.rule
			if resp := httpRig(t, proxy.HTTPSpec{Upgrades: tt.chain}, rule).ask(ask); resp.StatusCode != tt.want {
				t.Errorf("got %d, want %d", resp.StatusCode, tt.want)
			}
		})
	}
}

func TestTunnelsEndByTheClock(t *testing.T) {
	t.Parallel()
	short, long := patience, time.Minute
	for _, tt := range []struct {
		name    string
		chain   time.Duration
		edit    func(*proxy.Rule)
		details string
	}{
		{"idle by the rule", long, func(r *proxy.Rule) { r.IdleTimeout = &short }, "stream_idle_timeout"},
		{"idle by the chain", short, func(*proxy.Rule) {}, "stream_idle_timeout"},
		{"lasting too long", long, func(r *proxy.Rule) { r.MaxDuration = short }, "max_duration_timeout"},
		{"the rule's timeout is no bound, its idle one is", short, func(r *proxy.Rule) { r.Timeout = time.Millisecond }, "stream_idle_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rule := terminating(cluster(t, nil, echo(t)))
			tt.edit(rule)
			g := httpRig(t, proxy.HTTPSpec{Timeouts: proxy.Timeouts{StreamIdle: tt.chain}}, rule)
			c := g.dial()
			r := opened(t, c, "")
			tells(t, c, r, "ping")
			if rest, _ := io.ReadAll(r); len(rest) > 0 {
				t.Errorf("got %q", rest)
			}
			if rec := g.records.next(t); rec.details != tt.details || rec.Request.Bytes != 4 || rec.Response.Bytes != 4 {
				t.Errorf("recorded %s, %d up, %d down", rec.details, rec.Request.Bytes, rec.Response.Bytes)
			}
		})
	}
}
