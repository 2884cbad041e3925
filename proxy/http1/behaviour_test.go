package http1_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

const okResponse = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

func TestRequestsOnOneConnectionAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	down, up := proxied(t, http1.ServerOptions{})
	script(t, up, "GET /1 HTTP/1.1\r\nhost: h\r\n\r\n", okResponse, false)
	send(t, down, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHo")
	expect(t, down, okResponse)
	expect(t, up, "POST /2 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi")
	send(t, up, "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
	expect(t, down, "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
	send(t, down, "st: h\r\nConnection: close\r\n\r\n")
	expect(t, up, "GET /3 HTTP/1.1\r\nhost: h\r\n\r\n")
	send(t, up, okResponse)
	if got, want := all(t, down), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestResponsesAreSerialised(t *testing.T) {
	with := func(r *httpmsg.Response, fields ...string) *httpmsg.Response {
		for i := 0; i < len(fields); i += 2 {
			r.Header.Add(fields[i], fields[i+1])
		}
		return r
	}
	status := func(code int, length int64) *httpmsg.Response {
		return &httpmsg.Response{Status: code, Body: httpmsg.NoBody, ContentLength: length}
	}
	unknown := msgtest.Text("abc")
	unknown.ContentLength = httpmsg.Unknown
	unknown10 := msgtest.Text("abc")
	unknown10.ContentLength = httpmsg.Unknown
	const get11, get10 = "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.0\r\nHost: h\r\n\r\n"
	const head = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
	tests := []struct {
		name, request string
		res           *httpmsg.Response
		want          string
		end           bool
	}{
		{"length", get11, with(msgtest.Text("abc"), "a", "1", "content-length", "7", "b", "2"), "HTTP/1.1 200 OK\r\na: 1\r\ncontent-length: 3\r\nb: 2\r\n\r\nabc", false},
		{"empty", get11, msgtest.Text(""), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false},
		{"chunks", get11, unknown, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
		{"until close", get10, unknown10, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nabc", true},
		{"HTTP/1.0", get10, msgtest.Text("abc"), "HTTP/1.0 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", true},
		{"HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", msgtest.Text("abc"), "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nabc", false},
		{"HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", msgtest.Text("abc"), "HTTP/1.0 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", true},
		{"head", head, msgtest.Text("abc"), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", false},
		{"head with announced length", head, with(status(200, 9), "content-length", "9"), "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", false},
		{"head without length", head, status(200, httpmsg.Unknown), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", false},
		{"no content", get11, with(status(204, 0), "content-length", "5", "a", "b"), "HTTP/1.1 204 No Content\r\na: b\r\n\r\n", false},
		{"not modified", get11, with(status(304, 9), "content-length", "9"), "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", false},
		{"not modified without length", get11, status(304, httpmsg.Unknown), "HTTP/1.1 304 Not Modified\r\n\r\n", false},
		{"reply that closes", get11, with(msgtest.Text("abc"), "connection", "close"), "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", true},
		{"unknown status", get11, status(799, 0), "HTTP/1.1 799 Unknown\r\ncontent-length: 0\r\n\r\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			down, _ := serve(t, http1.ServerOptions{AcceptHTTP10: true}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
				if _, err := w.WriteResponse(tt.res); err != nil || !w.Started() {
					t.Errorf("started %v: %v", w.Started(), err)
				}
				if _, err := w.WriteResponse(msgtest.Text("again")); err == nil {
					t.Error("a second response was accepted")
				}
			}))
			send(t, down, tt.request)
			expect(t, down, tt.want)
			if tt.end {
				if rest := all(t, down); rest != "" {
					t.Errorf("more: %q", rest)
				}
			}
		})
	}
}

func TestExpectationIsAnsweredOrPassedOn(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
	const interim = "HTTP/1.1 100 Continue\r\n\r\n"
	t.Run("answered", func(t *testing.T) {
		t.Parallel()
		down, up := proxied(t, http1.ServerOptions{})
		send(t, down, head)
		expect(t, down, interim)
		expect(t, up, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n")
		send(t, down, "hi")
		expect(t, up, "hi")
		send(t, up, okResponse)
		expect(t, down, okResponse)
	})
	t.Run("passed on", func(t *testing.T) {
		t.Parallel()
		down, up := proxied(t, http1.ServerOptions{Proxy100Continue: true})
		send(t, down, head)
		expect(t, up, "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-Continue\r\ncontent-length: 2\r\n\r\n")
		send(t, up, interim)
		expect(t, down, interim)
		send(t, down, "hi")
		expect(t, up, "hi")
		send(t, up, okResponse)
		expect(t, down, okResponse)
	})
	t.Run("said without being asked", func(t *testing.T) {
		t.Parallel()
		down, up := proxied(t, http1.ServerOptions{Proxy100Continue: true})
		send(t, down, "GET / HTTP/1.1\r\nHost: h\r\nInterim: yes\r\n\r\n")
		expect(t, up, "GET / HTTP/1.1\r\nhost: h\r\ninterim: yes\r\n\r\n")
		send(t, up, interim)
		expect(t, down, interim)
		send(t, up, okResponse)
		expect(t, down, okResponse)
	})
	t.Run("refused by the upstream", func(t *testing.T) {
		t.Parallel()
		down, up := proxied(t, http1.ServerOptions{Proxy100Continue: true})
		send(t, down, head)
		expect(t, up, "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-Continue\r\ncontent-length: 2\r\n\r\n")
		send(t, up, "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")
		if got, want := all(t, down), "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("refused by a reply", func(t *testing.T) {
		t.Parallel()
		down, _ := serve(t, http1.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
			_, _ = w.WriteResponse(&httpmsg.Response{Status: 403, Body: httpmsg.NoBody})
		}))
		send(t, down, head)
		if got, want := all(t, down), "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestReplyWithoutReadingTheBody(t *testing.T) {
	t.Parallel()
	h := handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) { _, _ = w.WriteResponse(msgtest.Text("ok")) })
	t.Run("that is there keeps the connection", func(t *testing.T) {
		t.Parallel()
		down, _ := serve(t, http1.ServerOptions{}, h)
		for range 3 {
			send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
			expect(t, down, okResponse)
		}
	})
	t.Run("that goes on ends the connection, and the reply arrives", func(t *testing.T) {
		t.Parallel()
		down, _ := serve(t, http1.ServerOptions{}, h)
		send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n")
		send(t, down, strings.Repeat("x", 100000))
		if got, want := all(t, down), "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestStreamsAreNotHeldUp(t *testing.T) {
	t.Parallel()
	down, up := proxied(t, http1.ServerOptions{})
	send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	expect(t, up, "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
	send(t, down, "3\r\nabc\r\n")
	expect(t, up, "3\r\nabc\r\n")
	send(t, up, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	expect(t, down, "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
	for range 3 {
		send(t, up, "5\r\nevent\r\n")
		expect(t, down, "5\r\nevent\r\n")
		send(t, down, "2\r\nhi\r\n")
		expect(t, up, "2\r\nhi\r\n")
	}
	send(t, down, "0\r\n\r\n")
	expect(t, up, "0\r\n\r\n")
	send(t, up, "0\r\n\r\n")
	expect(t, down, "0\r\n\r\n")
}

func TestLargeBodiesArriveWhole(t *testing.T) {
	t.Parallel()
	down, up := proxied(t, http1.ServerOptions{})
	go func() { // an origin that sends back what it got
		_ = http1.NewServerConn(up, http1.ServerOptions{}).Serve(handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
			b, _ := io.ReadAll(r.Body)
			res := msgtest.Text(string(b))
			res.ContentLength = r.ContentLength
			_, _ = w.WriteResponse(res)
		}))
	}()
	body := strings.Repeat("0123456789abcdef", 1<<16)
	go func() {
		_, _ = io.WriteString(down, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: "+itoa(int64(len(body)))+"\r\n\r\n"+body)
		_, _ = io.WriteString(down, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n"+body+"\r\n0\r\n\r\n")
	}()
	expect(t, down, "HTTP/1.1 200 OK\r\ncontent-length: "+itoa(int64(len(body)))+"\r\n\r\n"+body)
	// How the second response is cut into chunks depends on timing.
	expect(t, down, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
	_ = down.CloseWrite()
	if got := unchunk(t, all(t, down)); got != body {
		t.Errorf("got %d bytes, want %d", len(got), len(body))
	}
}

// unchunk takes the chunked coding off.
func unchunk(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for {
		line, rest, _ := strings.Cut(s, "\r\n")
		n := 0
		for _, c := range line {
			n = n*16 + strings.IndexRune("0123456789abcdef", c)
		}
		if n <= 0 || n+2 > len(rest) {
			if line != "0" || rest != "\r\n" {
				t.Errorf("chunked coding ends with %.40q", s)
			}
			return b.String()
		}
		b.WriteString(rest[:n])
		s = rest[n+2:]
	}
}

func TestUpgradeBecomesATunnel(t *testing.T) {
	t.Parallel()
	down, up := proxied(t, http1.ServerOptions{})
	send(t, down, "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly")
	expect(t, up, "GET /chat HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n")
	send(t, up, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\nfirst")
	expect(t, down, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: a\r\n\r\nfirst")
	expect(t, up, "early")
	send(t, down, "one")
	expect(t, up, "one")
	_ = down.CloseWrite()
	if got := all(t, up); got != "" {
		t.Errorf("upstream got %q", got)
	}
	send(t, up, "still here")
	_ = up.Close()
	if got := all(t, down); got != "still here" {
		t.Errorf("downstream got %q", got)
	}
}

// A downstream may have sent bytes of the new protocol already: they are never taken
// for a request.
func TestRefusedUpgradeEndsTheConnection(t *testing.T) {
	t.Parallel()
	down, up := proxied(t, http1.ServerOptions{})
	send(t, down, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
	expect(t, up, "GET / HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
	send(t, up, okResponse)
	if got, want := all(t, down), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDownstreamThatLeavesIsNoticed(t *testing.T) {
	t.Parallel()
	near, up := msgtest.Pipe(t)
	f := newForwarder(near)
	down, done := serve(t, http1.ServerOptions{}, f)
	send(t, down, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	expect(t, up, "GET / HTTP/1.1\r\nhost: h\r\n\r\n")
	_ = down.Close()
	<-done
	if !errors.Is(f.err, errGone) || f.up.Reusable() {
		t.Errorf("got %v, want %v", f.err, errGone)
	}
}

func TestWatchingKeepsPipelinedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, up := net.Pipe()
		f := newForwarder(near)
		down, _, done := inMemory(http1.ServerOptions{}, f)
		for range 3 {
			send(t, down, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
			expect(t, up, "GET /1 HTTP/1.1\r\nhost: h\r\n\r\n")
			time.Sleep(time.Second) // nothing else than the watcher can take these
			send(t, down, "GET /2 HTTP/1.1\r\n")
			send(t, down, "Host: h\r\n\r\n")
			send(t, up, okResponse)
			expect(t, down, okResponse)
			expect(t, up, "GET /2 HTTP/1.1\r\nhost: h\r\n\r\n")
			send(t, up, okResponse)
			expect(t, down, okResponse)
		}
		send(t, down, "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n")
		expect(t, up, "GET /3 HTTP/1.1\r\nhost: h\r\n\r\n")
		start := time.Now()
		_ = down.Close()
		<-done
		if d := time.Since(start); !errors.Is(f.err, errGone) || d != 50*time.Millisecond {
			t.Errorf("got %v after %v, want %v", f.err, d, errGone)
		}
	})
}

func TestUploadThatIsCutIsTheDownstreamsFault(t *testing.T) {
	t.Parallel()
	near, up := msgtest.Pipe(t)
	f := newForwarder(near)
	down, done := serve(t, http1.ServerOptions{}, f)
	send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
	expect(t, up, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nab")
	_ = down.Close()
	<-done
	check(t, f.err, flow.Error{Side: flow.SideDownstream, Flag: flow.DownstreamConnectionTermination, Kind: flow.KindCancelled})
}

func TestBadChunksAreNotForwarded(t *testing.T) {
	tests := map[string]string{
		"no size":                   "\r\nabc\r\n0\r\n\r\n",
		"prefix":                    "0x3\r\nabc\r\n0\r\n\r\n",
		"underscore":                "1_0\r\nabc\r\n0\r\n\r\n",
		"sign":                      "+3\r\nabc\r\n0\r\n\r\n",
		"space before size":         " 3\r\nabc\r\n0\r\n\r\n",
		"space behind size":         "3 \r\nabc\r\n0\r\n\r\n",
		"too many digits":           "0000000000000003\r\nabc\r\n0\r\n\r\n",
		"bare LF behind size":       "3\nabc\r\n0\r\n\r\n",
		"bare CR in extension":      "3;a\rb\r\nabc\r\n0\r\n\r\n",
		"bare LF in extension":      "3;a\nabc\r\n0\r\n\r\n",
		"NUL in extension":          "3;a\x00\r\nabc\r\n0\r\n\r\n",
		"endless extension":         "3;" + strings.Repeat("a", 5000) + "\r\nabc\r\n0\r\n\r\n",
		"no CRLF behind data":       "3\r\nabcd0\r\n\r\n",
		"bare LF behind data":       "3\r\nabc\n0\r\n\r\n",
		"trailer without colon":     "3\r\nabc\r\n0\r\nabc\r\n\r\n",
		"trailer with bare LF":      "3\r\nabc\r\n0\r\na: b\nc: d\r\n\r\n",
		"bare CR at the end":        "3\r\nabc\r\n0\r\n\rx",
		"space in trailer's name":   "3\r\nabc\r\n0\r\na : b\r\n\r\n",
		"size in another character": "\xef\xbc\x93\r\nabc\r\n0\r\n\r\n",
	}
	for name, chunks := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, up := msgtest.Pipe(t)
			f := newForwarder(near)
			down, done := serve(t, http1.ServerOptions{}, f)
			send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks)
			<-done
			check(t, f.err, flow.Error{Side: flow.SideDownstream, Flag: flow.DownstreamProtocolError, Kind: flow.KindProtocol})
			_ = f.up.Close()
			if got := all(t, up); strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("the upstream got a whole request: %q", got)
			}
		})
	}
}

func TestTrailersPassWhereEnabled(t *testing.T) {
	t.Parallel()
	near, up := msgtest.Pipe(t)
	f := &forwarder{up: http1.NewClientConn(near, http1.ClientOptions{EnableTrailers: true})}
	f.abort = func() {}
	down, _ := serve(t, http1.ServerOptions{EnableTrailers: true}, f)
	send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\nhost: evil\r\n\r\n")
	expect(t, up, "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n")
	send(t, up, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nGrpc-Status: 0\r\n\r\n")
	expect(t, down, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\ngrpc-status: 0\r\n\r\n")
}

// inMemory serves over net.Pipe, for tests of time.
func inMemory(o http1.ServerOptions, h httpmsg.Handler) (net.Conn, *http1.ServerConn, chan error) {
	server, client := net.Pipe()
	done := make(chan error, 1)
	c := http1.NewServerConn(server, o)
	go func() { done <- c.Serve(h) }()
	return client, c, done
}

var answerOK = handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) { _, _ = w.WriteResponse(msgtest.Text("ok")) })

func TestSlowHeadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, done := inMemory(http1.ServerOptions{Limits: http1.Limits{HeadTimeout: 10 * time.Second}}, answerOK)
		time.Sleep(time.Minute) // idle time does not count
		start := time.Now()
		go func() {
			for _, b := range []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n") {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		got, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(got), "HTTP/1.1 408 Request Timeout\r\n") {
			t.Errorf("got %q", got)
		}
		var pe *http1.ProtocolError
		if err := <-done; !errors.As(err, &pe) || pe.Details != "request_header_timeout" || pe.Violation {
			t.Errorf("Serve returned %v", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("after %v", d)
		}
		time.Sleep(time.Second)
	})
}

func TestHeadThatStallsIsCutOffWithoutATimeoutOfItsOwn(t *testing.T) {
	tests := map[string]struct {
		limits http1.Limits
		begin  string
		want   time.Duration
	}{
		"by our own bound":         {http1.Limits{}, "GET / HTTP/1.1\r\nHost: h\r\n", time.Minute},
		"after one byte":           {http1.Limits{}, "G", time.Minute},
		"after an empty line":      {http1.Limits{}, "\r\n", time.Minute},
		"by the stream's bound":    {http1.Limits{StreamIdleTimeout: 5 * time.Minute}, "G", 5 * time.Minute},
		"its own comes first":      {http1.Limits{HeadTimeout: time.Second, StreamIdleTimeout: time.Hour}, "G", time.Second},
		"no matter how idle it is": {http1.Limits{IdleTimeout: 100 * time.Hour}, "G", time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, done := inMemory(http1.ServerOptions{Limits: tt.limits}, answerOK)
				time.Sleep(10 * time.Minute) // idle time does not count
				start := time.Now()
				send(t, c, tt.begin)
				got, _ := io.ReadAll(c)
				if !strings.HasPrefix(string(got), "HTTP/1.1 408 Request Timeout\r\n") {
					t.Errorf("got %q", got)
				}
				var pe *http1.ProtocolError
				if err := <-done; !errors.As(err, &pe) || pe.Details != "request_header_timeout" || pe.Violation {
					t.Errorf("Serve returned %v", err)
				}
				if d := time.Since(start); d != tt.want {
					t.Errorf("after %v, want %v", d, tt.want)
				}
			})
		})
	}
}

func TestHeadThatNoLineEndEndsIsRefusedAtOnce(t *testing.T) {
	for _, raw := range []string{
		"GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\r\nHost: h\r\n\n", "GET / HTTP/1.1\r\nHost: h\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _, done := inMemory(http1.ServerOptions{}, answerOK)
			start := time.Now()
			go func() {
				for _, b := range []byte(raw) { // each is read before the next is there
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
				}
			}()
			buf := make([]byte, 64)
			n, _ := c.Read(buf)
			if got := string(buf[:n]); !strings.HasPrefix(got, "HTTP/1.1 400 ") || time.Since(start) > 0 {
				t.Errorf("%q: got %q after %v, want 400 at once", raw, got, time.Since(start))
			}
			_ = c.Close()
			<-done
		})
	}
}

func TestIdleConnectionEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, done := inMemory(http1.ServerOptions{Limits: http1.Limits{IdleTimeout: time.Minute}}, answerOK)
		for range 5 {
			time.Sleep(50 * time.Second)
			send(t, c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if _, err := io.ReadFull(c, make([]byte, len(okResponse))); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if err := <-done; err != nil || time.Since(start) != time.Minute {
			t.Errorf("ended after %v: %v", time.Since(start), err)
		}
	})
}

func TestBodyThatStallsEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed error
		c, _, done := inMemory(http1.ServerOptions{Limits: http1.Limits{StreamIdleTimeout: 30 * time.Second}},
			handlerFunc(func(_ httpmsg.ResponseWriter, r *httpmsg.Request) { _, failed = io.ReadAll(r.Body) }))
		send(t, c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
		for range 4 {
			time.Sleep(29 * time.Second)
			send(t, c, "a")
		}
		start := time.Now()
		<-done
		check(t, failed, flow.Error{Side: flow.SideDownstream, Flag: flow.StreamIdleTimeout, Kind: flow.KindTimeout})
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestDrainEndsIdleConnectionsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		draining := false
		release := make(chan struct{})
		o := http1.ServerOptions{Draining: func() bool { return draining }}
		_, idle, idleDone := inMemory(o, answerOK)
		c, busy, busyDone := inMemory(o, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
			<-release
			answerOK(w, r)
		}))
		send(t, c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		synctest.Wait()
		draining = true
		idle.Drain()
		busy.Drain()
		if err := <-idleDone; err != nil {
			t.Errorf("idle: %v", err)
		}
		synctest.Wait()
		close(release)
		got, _ := io.ReadAll(c)
		if want := "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"; string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := <-busyDone; err != nil {
			t.Errorf("busy: %v", err)
		}
	})
}

func TestIdleTunnelEndsOnceOneSideHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, _, done := inMemory(http1.ServerOptions{Limits: http1.Limits{StreamIdleTimeout: time.Minute}},
			handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
				_, _ = w.WriteResponse(&httpmsg.Response{Status: 101, Body: httpmsg.NoBody, Tunnel: near})
			}))
		send(t, c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		go func() { _, _ = io.Copy(io.Discard, c) }()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		start := time.Now()
		<-done
		if d := time.Since(start); d < time.Minute || d > 2*time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

func TestNothingIsLeftBehind(t *testing.T) {
	rest := func() (goroutines, descriptors int) {
		d, _ := os.ReadDir("/proc/self/fd")
		return runtime.NumGoroutine(), len(d)
	}
	g0, d0 := rest()
	for i := range 20 {
		near, up := msgtest.Pipe(t)
		f := newForwarder(near)
		server, down := msgtest.Pipe(t)
		done := make(chan struct{})
		go func() { _ = http1.NewServerConn(server, http1.ServerOptions{}).Serve(f); close(done) }()
		inputs := []string{
			"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
			"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na", "\x00\x01",
		}
		send(t, down, inputs[i%len(inputs)])
		if i%2 == 0 {
			_ = up.Close()
		}
		_ = down.Close()
		<-done
		_ = f.up.Close()
		_ = up.Close()
	}
	waitFor(t, func() bool {
		g, d := rest()
		return g <= g0 && d <= d0
	})
}

func TestBodySurvivesAnAttemptThatDidNotReadIt(t *testing.T) {
	t.Parallel()
	first, firstFar := upstream(t)
	second, secondFar := upstream(t)
	var received atomic.Int64
	down, _ := serve(t, http1.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		for range 3 {
			if _, err := first.RoundTrip(r, time.Now().Add(500*time.Millisecond)); err == nil {
				t.Error("the first upstream answered")
			}
			first = http1.NewClientConn(dead(t), http1.ClientOptions{})
		}
		res, err := second.RoundTrip(r, time.Time{})
		if err != nil {
			t.Error(err)
			return
		}
		received.Store(r.Body.(httpmsg.Counted).Received())
		_, _ = w.WriteResponse(res)
	}))
	send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
	const head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n"
	expect(t, firstFar, head)
	expect(t, secondFar, head)
	send(t, down, "hello")
	expect(t, secondFar, "hello")
	send(t, secondFar, okResponse)
	expect(t, down, okResponse)
	if got := received.Load(); got != 5 {
		t.Errorf("received %d bytes, want 5", got)
	}
}

// dead is a connection whose other end never says anything.
func dead(t *testing.T) net.Conn {
	t.Helper()
	near, _ := msgtest.Pipe(t)
	return near
}
