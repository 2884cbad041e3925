package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// between puts two proxies in a row that speak HTTP/2 with each other.
func between(t *testing.T, spec proxy.HTTPSpec, origin *upstream.Cluster) (first, second *rig) {
	t.Helper()
	spec.HTTP2 = http2.Settings{AllowConnect: true}
	second = httpRig(t, spec, to(origin))
	first = httpRig(t, spec, to(cluster(t, func(s *upstream.Spec) {
		s.HTTP.Protocol = upstream.HTTP2
		s.HTTP.HTTP2.AllowConnect = true
	}, second.addr)))
	return first, second
}

func TestUpgradeBecomesExtendedConnectAndBack(t *testing.T) {
	t.Parallel()
	origin := cluster(t, nil, script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || req.Method != http.MethodGet || !strings.EqualFold(req.Header.Get("upgrade"), "websocket") {
			_, _ = io.WriteString(c, "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-a: b\r\n\r\n")
		_, _ = io.Copy(c, r)
		_ = c.(*net.TCPConn).CloseWrite()
	}))
	first, second := between(t, proxy.HTTPSpec{Upgrades: []string{"websocket"}}, origin)
	c := first.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || !strings.EqualFold(resp.Header.Get("upgrade"), "websocket") || resp.Header.Get("x-a") != "b" {
		t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
	}
	for n := range 20 {
		want := strings.Repeat("frame ", n*100) + "\n"
		_, _ = io.WriteString(c, want)
		if got, err := r.ReadString('\n'); got != want {
			t.Fatalf("frame %d: got %d bytes, %v", n, len(got), err)
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		t.Errorf("at the end: got %q, %v", rest, err)
	}
	for _, g := range []*rig{first, second} {
		if rec := g.records.next(t); rec.method != "GET" || rec.path != "/ws" || rec.flags != "-" && rec.flags != "DC" {
			t.Errorf("recorded %s %s %s", rec.method, rec.path, rec.flags)
		}
	}
}

func TestRefusedUpgradeComesBackAsItIs(t *testing.T) {
	t.Parallel()
	origin := cluster(t, nil, script(t, answer("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")))
	first, _ := between(t, proxy.HTTPSpec{Upgrades: []string{"websocket"}}, origin)
	resp := first.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	if got := bodyOf(t, resp); resp.StatusCode != 403 || got != "no" {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
}

func TestTrailersPassOverHTTP2(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		if l.up == 1 || l.down == 1 {
			t.Skip("trailers of HTTP/1.1 are dropped unless enabled")
		}
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
			w.Header().Set(http.TrailerPrefix+"x-end", "response "+r.Trailer.Get("x-end"))
		}, nil)
		g := l.rig(t, proxy.HTTPSpec{}, to(c))
		r := newRequest(t, http.MethodPost, l.url(g, "/"), strings.NewReader("content"))
		r.Trailer = http.Header{"X-End": {"request"}}
		r.ContentLength = -1
		resp, body := l.ask(t, l.downstream(t, g), r)
		if got := resp.Trailer.Get("x-end"); body != "content" || got != "response request" {
			t.Errorf("got %q, trailer %q", body, got)
		}
	})
}

func TestRepliesToGRPCAreTrailersOnlyInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		g := l.rig(t, proxy.HTTPSpec{}, to(cluster(t, func(s *upstream.Spec) {
			if l.up == 2 {
				s.HTTP.Protocol = upstream.HTTP2
			}
		}, closedPort(t))))
		r := newRequest(t, http.MethodPost, l.url(g, "/a.B/C"), strings.NewReader("\x00\x00\x00\x00\x00"))
		r.Header.Set("content-type", "application/grpc")
		r.Header.Set("te", "trailers")
		resp, body := l.ask(t, l.downstream(t, g), r)
		h := resp.Header
		if resp.StatusCode != 200 || body != "" || h.Get("grpc-status") != "14" || h.Get("content-type") != "application/grpc" ||
			!strings.HasPrefix(h.Get("grpc-message"), "upstream connect error or disconnect/reset before headers.") {
			t.Errorf("got %d %q %v", resp.StatusCode, body, h)
		}
		if rec := g.records.next(t); rec.flags != "UF" || rec.Response.Status != 200 {
			t.Errorf("recorded %d %s", rec.Response.Status, rec.flags)
		}
	})
}

func TestConnectionServesNoMoreRequestsThanItMayInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		c := l.upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, nil)
		stats := new(proxy.HTTPStats)
		g := l.rig(t, proxy.HTTPSpec{MaxRequests: 3, Stats: stats}, to(c))
		client := l.downstream(t, g)
		perConn := make(map[uint64]int)
		for range 12 {
			if resp, body := l.ask(t, client, newRequest(t, http.MethodGet, l.url(g, "/"), nil)); resp.StatusCode != 200 || body != "ok" {
				t.Fatalf("got %d %q", resp.StatusCode, body)
			}
			perConn[g.records.next(t).Conn.ID]++
		}
		// Over HTTP/2 what is under way when the connection is asked to end is served.
		if len(perConn) < 2 || l.down == 1 && len(perConn) != 4 {
			t.Errorf("got %v", perConn)
		}
		spoken := map[int]uint64{1: stats.HTTP1.Load(), 2: stats.HTTP2.Load()}
		if n := uint64(len(perConn)); spoken[l.down] != n || spoken[3-l.down] != 0 || stats.MaxRequests.Load() < n-1 {
			t.Errorf("counted connections %v, %d full ones; want %d", spoken, stats.MaxRequests.Load(), n)
		}
	})
}

// flood reads without an end, and counts.
type flood struct{ n atomic.Int64 }

func (f *flood) Read(p []byte) (int, error) {
	f.n.Add(int64(len(p)))
	return len(p), nil
}

// levels waits until a counter stands still, and returns it.
func levels(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	last, still := int64(-1), 0
	for deadline := time.Now().Add(30 * time.Second); still < 10; time.Sleep(20 * time.Millisecond) {
		if now := n.Load(); now == last && now > 0 {
			still++
		} else {
			last, still = now, 0
		}
		if time.Now().After(deadline) {
			t.Fatalf("still moving at %d bytes", last)
		}
	}
	return last
}

// held is what may lie between two ends that do not read: windows of 1 MiB twice, the
// client library's own of 4 MiB, and the buffers of four sockets.
const held = 48 << 20

func TestWhoStopsReadingHoldsTheOtherSideInEveryVersion(t *testing.T) {
	t.Parallel()
	forEachProtocol(t, func(t *testing.T, l *lane) {
		var sent atomic.Int64
		stop := make(chan struct{})
		defer close(stop)
		c := l.upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				select { // reads nothing
				case <-r.Context().Done():
				case <-stop:
				}
				return
			}
			b := make([]byte, 64<<10)
			for {
				n, err := w.Write(b)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}, func(s *upstream.Spec) { s.HTTP.HTTP2.InitialStreamWindow = 1 << 20 })
		g := l.rig(t, proxy.HTTPSpec{HTTP2: http2.Settings{InitialStreamWindow: 1 << 20}}, to(c))
		client := l.downstream(t, g)
		resp, err := client.Do(newRequest(t, http.MethodGet, l.url(g, "/"), nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := levels(t, &sent); got > held {
			t.Errorf("the upstream could send %d MiB", got>>20)
		}
		var upload flood
		go func() {
			resp, err := client.Do(newRequest(t, http.MethodPost, l.url(g, "/"), &upload))
			if err == nil {
				_ = resp.Body.Close()
			}
		}()
		if got := levels(t, &upload.n); got > held {
			t.Errorf("the downstream could send %d MiB", got>>20)
		}
	})
}
