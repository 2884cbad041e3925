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

const accepted = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"

// websockets is a row of proxies: one that turns the client's HTTP/1.1 into l.up, then
// two sidecars that speak l.down with each other, over mTLS where the lane does.
func (l *lane) websockets(t *testing.T, idle time.Duration, play func(net.Conn, *bufio.Reader)) (front, last *rig) {
	t.Helper()
	spec := func() proxy.HTTPSpec {
		s := proxy.HTTPSpec{Upgrades: []string{"websocket"}}
		s.HTTP2.AllowConnect = true
		return s
	}
	hop := func(version int, next *rig, edit func(*upstream.Spec)) *upstream.Cluster {
		return cluster(t, func(s *upstream.Spec) {
			if version == 2 {
				s.HTTP.Protocol, s.HTTP.HTTP2.AllowConnect = upstream.HTTP2, true
			}
			edit(s)
		}, next.addr)
	}
	ending := spec()
	ending.Timeouts.StreamIdle = idle
	last = l.rig(t, ending, to(cluster(t, nil, script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, accepted)
			play(c, r)
		}
	}))))
	first := httpRig(t, spec(), to(hop(l.down, last, func(s *upstream.Spec) {
		if l.tls {
			s.Default = upstream.Socket{Name: "tls", TLS: l.client(t, idDown, l.down)}
		}
	})))
	return httpRig(t, spec(), to(hop(l.up, first, func(*upstream.Spec) {}))), last
}

// upgraded opens a websocket.
func upgraded(t *testing.T, g *rig) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("got %v, %v", resp, err)
	}
	return c, r
}

func TestWebsocketsPassInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		t.Run("large messages", func(t *testing.T) {
			t.Parallel()
			front, last := l.websockets(t, time.Minute, func(c net.Conn, r *bufio.Reader) {
				_, _ = io.Copy(c, r)
				_ = c.(*net.TCPConn).CloseWrite()
			})
			c, r := upgraded(t, front)
			tells(t, c, r, "hello")
			const large = 4 << 20
			go func() { _, _ = io.WriteString(c, strings.Repeat("x", large)) }()
			if n, err := io.CopyN(io.Discard, r, large); err != nil {
				t.Fatalf("%d bytes came back, %v", n, err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("at the end: %q, %v", rest, err)
			}
			if rec := last.records.next(t); rec.Request.Bytes != large+5 || rec.Response.Bytes != large+5 {
				t.Errorf("recorded %d up, %d down", rec.Request.Bytes, rec.Response.Bytes)
			}
		})
		t.Run("the server ends it", func(t *testing.T) {
			t.Parallel()
			front, last := l.websockets(t, time.Minute, func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "bye") })
			_, r := upgraded(t, front)
			if got, _ := io.ReadAll(r); string(got) != "bye" {
				t.Errorf("got %q", got)
			}
			front.listeners.Close() // the client still holds its own direction
			if rec := last.records.next(t); rec.flags != "UC" || rec.Response.Bytes != 3 {
				t.Errorf("recorded %s, %d down", rec.flags, rec.Response.Bytes)
			}
		})
		t.Run("nobody says anything", func(t *testing.T) {
			t.Parallel()
			front, last := l.websockets(t, patience, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
			c, r := upgraded(t, front)
			_, _ = io.WriteString(c, "x")
			if got, _ := io.ReadAll(r); len(got) > 0 {
				t.Errorf("got %q", got)
			}
			if rec := last.records.next(t); rec.details != "stream_idle_timeout" || rec.Request.Bytes != 1 {
				t.Errorf("recorded %s, %d up", rec.details, rec.Request.Bytes)
			}
		})
	})
}
