package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// taken is what an upstream does with a request it has read: false ends the
// connection without an answer.
type taken func(conn, request int, req *http.Request, body string) bool

// taking reads requests and answers those that it is told to.
func taking(seen *atomic.Int64, take taken) func(int, net.Conn, *bufio.Reader) {
	return func(n int, c net.Conn, r *bufio.Reader) {
		for i := 0; ; i++ {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			seen.Add(1)
			if !take(n, i, req, string(body)) {
				return
			}
			if _, err := io.WriteString(c, hello); err != nil {
				return
			}
		}
	}
}

func TestARequestIsRepeatedWhenAKeptConnectionEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, request string
		body          string
		status        int
		seen          int64 // the first request, and how often the second came
	}{
		{"GET", "GET / HTTP/1.1\r\nhost: x\r\n\r\n", "", 200, 3},
		{"HEAD", "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", "", 200, 3},
		{"DELETE", "DELETE / HTTP/1.1\r\nhost: x\r\n\r\n", "", 200, 3},
		{"PUT with its body", "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n", "abc", 200, 3},
		{"PUT with more than is kept", "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 20000\r\n\r\n", strings.Repeat("x", 20000), 503, 2},
		{"POST", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n", "abc", 503, 2},
		{"POST without a body", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "", 503, 2},
		{"PATCH", "PATCH / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n", "abc", 503, 2},
		{"an upgrade", "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", "", 503, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seen atomic.Int64
			addr := script(t, taking(&seen, func(conn, request int, _ *http.Request, body string) bool {
				if conn+request > 0 && body != tt.body {
					t.Errorf("upstream got %d bytes, want %d", len(body), len(tt.body))
				}
				return conn != 0 || request == 0
			}))
			c := cluster(t, nil, addr)
			rule := to(c)
			rule.Edits.IncludeAttemptCount = true
			g := httpRig(t, proxy.HTTPSpec{Upgrades: []string{"websocket"}}, rule)
			g.ask("GET /first HTTP/1.1\r\nhost: x\r\n\r\n")
			g.records.next(t)
			g.rest()
			resp := g.ask(tt.request + tt.body)
			r := g.records.next(t)
			if resp.StatusCode != tt.status || seen.Load() != tt.seen {
				t.Errorf("got %d, the upstream saw %d requests, want %d and %d", resp.StatusCode, seen.Load(), tt.status, tt.seen)
			}
			repeated := c.Stats().Stale.Repeated.Load()
			if tt.status == 503 && (r.flags != "UC" || repeated != 0) || tt.status == 200 && (r.flags != "-" || repeated != 1) {
				t.Errorf("got flags %s and %d repeated", r.flags, repeated)
			}
			if r.Upstream.Attempts != 1 {
				t.Errorf("got %d attempts, want one that anybody has seen", r.Upstream.Attempts)
			}
		})
	}
}

func TestARequestIsNotRepeatedForEver(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	addr := script(t, taking(&seen, func(conn, request int, _ *http.Request, _ string) bool { return conn == 0 && request == 0 }))
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, addr)))
	g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	g.rest()
	if resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); resp.StatusCode != 503 || seen.Load() != 4 {
		t.Errorf("got %d after %d requests, want 503 after four", resp.StatusCode, seen.Load())
	}
}

func TestAConnectionThatEndsUnderItsFirstRequestIsAnAnswer(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	addr := script(t, taking(&seen, func(int, int, *http.Request, string) bool { return false }))
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, addr)))
	if resp := g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); resp.StatusCode != 503 || seen.Load() != 1 {
		t.Errorf("got %d after %d requests", resp.StatusCode, seen.Load())
	}
}

func TestARequestIsNotRepeatedBehindAPartOfItsAnswer(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"HTTP/1.1 2", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"} {
		var seen atomic.Int64
		addr := script(t, func(n int, c net.Conn, r *bufio.Reader) {
			taking(&seen, func(conn, request int, _ *http.Request, _ string) bool {
				if conn == 0 && request == 1 {
					_, _ = io.WriteString(c, part)
					return false
				}
				return true
			})(n, c, r)
		})
		g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, addr)))
		g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
		g.rest()
		c := g.dial()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
		if seen.Load() != 2 {
			t.Errorf("%q: the upstream saw %d requests, want 2", part, seen.Load())
		}
	}
}

func TestARequestGoesElsewhereWhenItsEndpointDies(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "PUT"} {
		var seen atomic.Int64
		dies, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := dies.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			taking(&seen, func(_, request int, _ *http.Request, _ string) bool {
				if request == 0 {
					return true
				}
				_ = dies.Close()
				return false
			})(0, c, bufio.NewReader(c))
		}()
		c := cluster(t, nil, dies.Addr().String())
		g := httpRig(t, proxy.HTTPSpec{}, to(c))
		g.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
		addEndpoint(t, c, script(t, answer(hello)))
		for i := 0; ; i++ { // until the dying one is picked
			g.rest()
			if resp := g.ask(method + " / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"); resp.StatusCode != 200 {
				t.Fatalf("%s %d: got %d", method, i, resp.StatusCode)
			}
			if c.Stats().Stale.Repeated.Load() > 0 {
				break
			}
		}
		<-done
	}
}

// second is what an HTTP/2 upstream does with the second stream of its first
// connection.
type second func(f *xhttp2.Framer, c net.Conn, id uint32)

// multiplexed answers every request but that one.
func multiplexed(seen *atomic.Int64, do second) func(int, net.Conn, *bufio.Reader) {
	return func(n int, c net.Conn, r *bufio.Reader) {
		if _, err := io.ReadFull(r, make([]byte, len(xhttp2.ClientPreface))); err != nil {
			return
		}
		f := xhttp2.NewFramer(c, r)
		_ = f.WriteSettings()
		served := 0
		finish := func(id uint32) bool {
			seen.Add(1)
			if served++; n == 0 && served == 2 {
				do(f, c, id)
				return true
			}
			var b bytes.Buffer
			_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "204"})
			return f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true}) == nil
		}
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *xhttp2.SettingsFrame:
				if !frame.IsAck() {
					_ = f.WriteSettingsAck()
				}
			case *xhttp2.HeadersFrame:
				if frame.StreamEnded() && !finish(frame.StreamID) {
					return
				}
			case *xhttp2.DataFrame:
				if frame.StreamEnded() && !finish(frame.StreamID) {
					return
				}
			}
		}
	}
}

func TestAStreamThatWasNotProcessedIsRepeated(t *testing.T) {
	t.Parallel()
	refused := func(f *xhttp2.Framer, _ net.Conn, id uint32) { _ = f.WriteRSTStream(id, xhttp2.ErrCodeRefusedStream) }
	gone := func(f *xhttp2.Framer, _ net.Conn, id uint32) { _ = f.WriteGoAway(id-2, xhttp2.ErrCodeNo, nil) }
	cut := func(_ *xhttp2.Framer, c net.Conn, _ uint32) { _ = c.Close() }
	reset := func(f *xhttp2.Framer, _ net.Conn, id uint32) { _ = f.WriteRSTStream(id, xhttp2.ErrCodeInternal) }
	const get, post = "GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
	for _, tt := range []struct {
		name, request string
		do            second
		status        int
	}{
		{"refused", get, refused, 204},
		{"refused, POST", post, refused, 204},
		{"beyond a GOAWAY", get, gone, 204},
		{"beyond a GOAWAY, POST", post, gone, 204},
		{"cut off", get, cut, 204},
		{"cut off, POST", post, cut, 503},
		{"reset", get, reset, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seen atomic.Int64
			c := cluster(t, func(s *upstream.Spec) { s.HTTP.Protocol = upstream.HTTP2 }, script(t, multiplexed(&seen, tt.do)))
			g := httpRig(t, proxy.HTTPSpec{}, to(c))
			g.ask("GET /first HTTP/1.1\r\nhost: x\r\n\r\n")
			g.records.next(t)
			g.rest()
			resp := g.ask(tt.request)
			if want := int64(2 + 1 - tt.status/503); resp.StatusCode != tt.status || seen.Load() != want {
				t.Errorf("got %d, the upstream saw %d requests, want %d and %d", resp.StatusCode, seen.Load(), tt.status, want)
			}
		})
	}
}

func TestAPolicyActsBeforeARequestIsRepeated(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	refused := func(f *xhttp2.Framer, _ net.Conn, id uint32) { _ = f.WriteRSTStream(id, xhttp2.ErrCodeRefusedStream) }
	c := cluster(t, func(s *upstream.Spec) { s.HTTP.Protocol, s.Limits.Retries = upstream.HTTP2, 3 }, script(t, multiplexed(&seen, refused)))
	rule := to(c)
	rule.Retry = &proxy.Retry{On: proxy.RetryOnRefusedStream, Max: 1}
	g := httpRig(t, proxy.HTTPSpec{}, rule)
	g.ask("GET /first HTTP/1.1\r\nhost: x\r\n\r\n")
	g.records.next(t)
	g.rest()
	resp := g.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc")
	r := g.records.next(t)
	st := c.Stats()
	if resp.StatusCode != 204 || r.Upstream.Attempts != 2 || st.Requests.Retry.Load() != 1 || st.Stale.Repeated.Load() != 0 {
		t.Errorf("got %d after %d attempts, %d retries and %d repeated", resp.StatusCode, r.Upstream.Attempts, st.Requests.Retry.Load(), st.Stale.Repeated.Load())
	}
}

// addEndpoint adds an address to a cluster's endpoints.
func addEndpoint(t *testing.T, c *upstream.Cluster, addr string) {
	t.Helper()
	var specs []lb.EndpointSpec
	for _, e := range c.Endpoints().Endpoints() {
		specs = append(specs, *e.Spec())
	}
	specs = append(specs, lb.EndpointSpec{Addr: netip.MustParseAddrPort(addr), Weight: 1})
	c.PublishEndpoints(lb.NewSet(c.Endpoints(), specs, c.Spec().Policy))
}

// TestAFreshConnectionThatDiesWithItsEndpointIsNoAnswer: who takes no connections any
// more has not answered.
func TestAFreshConnectionThatDiesWithItsEndpointIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		dies, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := dies.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_ = dies.Close()
			_ = c.Close()
		}()
		c := cluster(t, nil, dies.Addr().String(), script(t, answer(hello)))
		g := httpRig(t, proxy.HTTPSpec{}, to(c))
		bad := 0
		for ended := false; !ended; {
			if resp := g.ask(method + " / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"); resp.StatusCode != 200 {
				bad++
			}
			select {
			case <-done:
				ended = true
			default:
			}
		}
		if want := map[string]int{"GET": 0, "POST": 1}[method]; bad != want {
			t.Errorf("%d × %s failed, want %d", bad, method, want)
		}
	}
}
