package http1_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// get is a request without a body.
func get() *httpmsg.Request {
	return &httpmsg.Request{Method: "GET", Scheme: "http", Authority: "h", Path: "/", Body: httpmsg.NoBody}
}

// post is a request whose body has the given pieces, of unknown length if n < 0.
func post(n int64, pieces ...string) *httpmsg.Request {
	r := get()
	r.Method, r.Body, r.ContentLength = "POST", &content{Pieces: pieces}, n
	return r
}

// upstream is a ClientConn and the other end of its connection.
func upstream(tb testing.TB) (*http1.ClientConn, *net.TCPConn) {
	tb.Helper()
	a, b := msgtest.Pipe(tb)
	return http1.NewClientConn(a, http1.ClientOptions{ForwardReason: true}), b
}

// script answers with the given bytes once it has read the wanted ones.
func script(tb testing.TB, c *net.TCPConn, want, answer string, end bool) {
	tb.Helper()
	done := make(chan struct{})
	tb.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, len(want))
		if n, err := io.ReadFull(c, b); string(b) != want {
			tb.Errorf("upstream got  %q, %v\nwant %q", b[:n], err, want)
		}
		_, _ = io.WriteString(c, answer)
		if end {
			_ = c.Close()
		}
	}()
}

func TestRequestsAreSerialised(t *testing.T) {
	withFields := get()
	withFields.Header.Fields = []httpmsg.Field{
		{Name: "x-b", Value: "1"}, {Name: "content-length", Value: "77"}, {Name: "connection", Value: "x"}, {Name: "x-a", Value: "2\r\nevil: 1"}, {Name: "transfer-encoding", Value: "gzip"}, {Name: "upgrade", Value: "x"},
	}
	inPlace := post(3, "abc")
	inPlace.Header.Fields = []httpmsg.Field{{Name: "a", Value: "1"}, {Name: "content-length", Value: "99"}, {Name: "b", Value: "2"}}
	upgrade := get()
	upgrade.Upgrade = "websocket"
	connect := get()
	connect.Method, connect.Authority, connect.Path = "CONNECT", "u:443", ""
	empty := get()
	empty.Method = "POST"
	tests := []struct {
		name string
		r    *httpmsg.Request
		want string
	}{
		{"bare", get(), "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"framing fields are the codec's own", withFields, "GET / HTTP/1.1\r\nhost: h\r\nx-b: 1\r\ncontent-length: 0\r\nx-a: 2  evil: 1\r\n\r\n"},
		{"length stands in its place", inPlace, "POST / HTTP/1.1\r\nhost: h\r\na: 1\r\ncontent-length: 3\r\nb: 2\r\n\r\nabc"},
		{"length is added", post(3, "abc"), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc"},
		{"length of an absent body", empty, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"},
		{"pieces", post(6, "abc", "def"), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nabcdef"},
		{"chunks", post(-1, "abc", "0123456789abcdef"), "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"},
		{"upgrade", upgrade, "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
		{"connect", connect, "CONNECT u:443 HTTP/1.1\r\nhost: u:443\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, up := upstream(t)
			script(t, up, tt.want, "HTTP/1.1 204 No Content\r\n\r\n", false)
			res, err := c.RoundTrip(tt.r, time.Time{})
			if err != nil || res.Status != 204 {
				t.Fatalf("got %v, %v", res, err)
			}
		})
	}
}

func TestResponses(t *testing.T) {
	tests := []struct {
		name     string
		method   string
		raw      string
		end      bool
		want     string
		reusable bool
	}{
		{"length", "GET", "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nX: y\r\n\r\nabc", false, "200 Fine 3 [content-length: 3] [x: y] abc", true},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, "204 No Content 0 ", true},
		{"no content with length", "GET", "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok", false, "!UPE", false},
		{"no content with chunks", "GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false, "!UPE", false},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", false, "304 Not Modified 9 [content-length: 9] ", true},
		{"empty reason", "GET", "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", false, "200  0 [content-length: 0] ", true},
		{"no reason", "GET", "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", false, "200  0 [content-length: 0] ", true},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", false, "200 OK 9 [content-length: 9] ", true},
		{"head without length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", false, "200 OK -1 ", true},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\nt: r\r\n\r\n", false, "200 OK -1 abcd", true},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nabc", true, "200 OK -1 abc", false},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", false, "200 OK 3 [content-length: 3] abc", false},
		{"HTTP/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 3\r\n\r\nabc", false, "200 OK 3 [content-length: 3] abc", true},
		{"close", "GET", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", false, "200 OK 3 [content-length: 3] abc", false},
		{"hop-by-hop fields go", "GET", "HTTP/1.1 200 OK\r\nconnection: x\r\nx: 1\r\nkeep-alive: a\r\nproxy-connection: b\r\nupgrade: h2\r\ncontent-length: 0\r\ny: 2\r\n\r\n", false, "200 OK 0 [content-length: 0] [y: 2] ", true},
		{"interim", "GET", "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", false, "103[link: a] 100 200 OK 1 [content-length: 1] a", true},
		{"unsolicited bytes", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc", false, "200 OK 1 [content-length: 1] a", false},

		{"cut in the body", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", true, "200 OK 9 [content-length: 9] abc!UPE", false},
		{"cut in a chunk", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc", true, "200 OK -1 abc!UPE", false},
		{"bad chunk", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n", false, "200 OK -1 abc!UPE", false},
		{"bad trailer", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx y\r\n\r\n", false, "200 OK -1 !UPE", false},
		{"nothing", "GET", "", true, "!UC", false},
		{"cut in the head", "GET", "HTTP/1.1 200 OK\r\nconte", true, "!UPE", false},
		{"garbage", "GET", "SSH-2.0-x\r\n", false, "!UPE", false},
		{"HTTP/2", "GET", "HTTP/2 200 OK\r\n\r\n", false, "!UPE", false},
		{"status of two digits", "GET", "HTTP/1.1 20 OK\r\n\r\n", false, "!UPE", false},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", false, "!UPE", false},
		{"length and chunked", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false, "!UPE", false},
		{"unknown coding", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", false, "!UPE", false},
		{"unasked upgrade", "GET", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", false, "!UPE", false},
		{"too many headers", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 101) + "\r\n", false, "!UPE", false},
		{"too large", "GET", "HTTP/1.1 200 OK\r\na: " + strings.Repeat("b", 81<<10) + "\r\n\r\n", false, "!UPE", false},
		{"flood of hints", "GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 40), false, strings.Repeat("103 ", 32) + "!UPE", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, up := upstream(t)
			r := get()
			r.Method = tt.method
			script(t, up, r.Method+" / HTTP/1.1\r\nhost: h\r\n\r\n", tt.raw, tt.end)
			if got := exchange(c, r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := c.Reusable(); got != tt.reusable {
				t.Errorf("reusable %v, want %v", got, tt.reusable)
			}
		})
	}
}

// exchange runs a request and describes what came of it.
func exchange(c *http1.ClientConn, r *httpmsg.Request) string {
	var b strings.Builder
	fields := func(h *httpmsg.Header) {
		for _, f := range h.Fields {
			b.WriteString("[" + f.Name + ": " + f.Value + "] ")
		}
	}
	r.Interim = func(status int, h *httpmsg.Header) error {
		b.WriteString(itoa(int64(status)))
		if h.Len() > 0 {
			b.WriteString("[" + h.Fields[0].Name + ": " + h.Fields[0].Value + "]")
		}
		b.WriteString(" ")
		return nil
	}
	res, err := c.RoundTrip(r, time.Now().Add(time.Minute))
	if err == nil {
		b.WriteString(itoa(int64(res.Status)) + " " + res.Reason + " " + itoa(res.ContentLength) + " ")
		fields(&res.Header)
		var body []byte
		body, err = io.ReadAll(res.Body)
		b.Write(body)
	}
	if err != nil {
		b.WriteString("!")
		if fe, ok := flow.AsError(err); ok {
			b.WriteString(fe.Flag.String())
		} else {
			b.WriteString(err.Error())
		}
	}
	return b.String()
}

func TestManyExchangesOnOneConnection(t *testing.T) {
	t.Parallel()
	c, up := upstream(t)
	go func() {
		_ = http1.NewServerConn(up, http1.ServerOptions{}).Serve(handlerFunc(
			func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
				b, _ := io.ReadAll(r.Body)
				res := msgtest.Text(string(b))
				if len(b)%2 == 1 {
					res.ContentLength = httpmsg.Unknown
				}
				_, _ = w.WriteResponse(res)
			}))
	}()
	for i := range 60 {
		body := strings.Repeat("0123456789", i*i*7)
		r := post(int64(len(body)), body)
		if i%3 == 0 {
			r = post(-1, body, "x")
			body += "x"
		}
		if body == "" {
			continue
		}
		res, err := c.RoundTrip(r, time.Time{})
		if err != nil {
			t.Fatalf("exchange %d: %v", i, err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != body {
			t.Fatalf("exchange %d: %d bytes, %v, want %d", i, len(got), err, len(body))
		}
		if !c.Reusable() || !c.Alive() {
			t.Fatalf("exchange %d: reusable %v, alive %v", i, c.Reusable(), c.Alive())
		}
		c.Release()
	}
}

func TestFailuresSayWhetherARetryIsSafe(t *testing.T) {
	t.Parallel()
	t.Run("closed before the request", func(t *testing.T) {
		t.Parallel()
		c, up := upstream(t)
		_ = up.SetLinger(0)
		_ = up.Close()
		waitFor(t, func() bool { return !c.Alive() })
		_, err := c.RoundTrip(get(), time.Time{})
		check(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination, Retry: flow.RetryUnsent})
	})
	t.Run("closed after the request", func(t *testing.T) {
		t.Parallel()
		c, up := upstream(t)
		script(t, up, "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "", true)
		_, err := c.RoundTrip(get(), time.Time{})
		check(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination, Retry: flow.RetryUnanswered})
	})
	t.Run("closed behind an interim response", func(t *testing.T) {
		t.Parallel()
		c, up := upstream(t)
		script(t, up, "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n", true)
		_, err := c.RoundTrip(get(), time.Time{})
		check(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamConnectionTermination, Kind: flow.KindTermination, Retry: flow.RetryReset})
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		c, _ := upstream(t)
		_, err := c.RoundTrip(get(), time.Now().Add(time.Second))
		check(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryReset})
	})
	t.Run("request body fails", func(t *testing.T) {
		t.Parallel()
		c, _ := upstream(t)
		broken := errors.New("broken")
		r := post(-1, "a")
		r.Body.(*content).Err = broken
		if _, err := c.RoundTrip(r, time.Time{}); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if c.Reusable() {
			t.Error("still reusable")
		}
	})
	t.Run("abort", func(t *testing.T) {
		t.Parallel()
		c, _ := upstream(t)
		cause := errors.New("cause")
		go func() {
			time.Sleep(5 * time.Millisecond)
			c.Abort(cause)
		}()
		if _, err := c.RoundTrip(get(), time.Time{}); !errors.Is(err, cause) || c.Reusable() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("abort in the body", func(t *testing.T) {
		t.Parallel()
		c, up := upstream(t)
		script(t, up, "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", false)
		res, err := c.RoundTrip(get(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		cause := errors.New("cause")
		go c.Abort(cause)
		if _, err = io.ReadAll(res.Body); !errors.Is(err, cause) || c.Reusable() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("abort with a request body that waits", func(t *testing.T) {
		t.Parallel()
		c, _ := upstream(t)
		r := get()
		body := &waiting{wake: make(chan struct{})}
		r.Method, r.Body, r.ContentLength = "POST", body, 5
		cause := errors.New("cause")
		go c.Abort(cause)
		if _, err := c.RoundTrip(r, time.Time{}); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("deadline in the body", func(t *testing.T) {
		t.Parallel()
		c, up := upstream(t)
		script(t, up, "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", false)
		res, err := c.RoundTrip(get(), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		c.SetBodyDeadline(time.Now().Add(10 * time.Millisecond))
		_, err = io.ReadAll(res.Body)
		check(t, err, flow.Error{Side: flow.SideUpstream, Flag: flow.UpstreamRequestTimeout, Kind: flow.KindTimeout, Retry: flow.RetryNever})
	})
}

// waiting is a body whose Read waits for Close.
type waiting struct{ wake chan struct{} }

func (w *waiting) Read([]byte) (int, error) {
	<-w.wake
	return 0, errors.New("closed")
}
func (w *waiting) Buffered() int { return 0 }
func (w *waiting) Close() error  { close(w.wake); return nil }

func check(t *testing.T, err error, want flow.Error) {
	t.Helper()
	got, ok := flow.AsError(err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	if got.Side != want.Side || got.Flag != want.Flag || got.Kind != want.Kind || got.Retry != want.Retry {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(end) {
			t.Fatal("did not happen")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestEarlyResponseEndsTheRequest(t *testing.T) {
	t.Parallel()
	c, up := upstream(t)
	body := &waiting{wake: make(chan struct{})}
	r := get()
	r.Method, r.Body, r.ContentLength = "POST", body, 5
	script(t, up, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n", "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nabc", false)
	if got, want := exchange(c, r), "413 Too Large 3 [content-length: 3] abc"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c.Reusable() {
		t.Error("still reusable")
	}
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	c, up := upstream(t)
	r := get()
	r.Upgrade = "websocket"
	script(t, up, "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nx: y\r\n\r\nhello", false)
	res, err := c.RoundTrip(r, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != 101 || res.Header.Value("x") != "y" || res.Header.Value("connection") != "Upgrade" || res.Header.Len() != 3 || c.Reusable() {
		t.Errorf("got %+v", res)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(res.Tunnel, b); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := io.WriteString(res.Tunnel, "bye"); err != nil {
		t.Error(err)
	}
	if err := res.Tunnel.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	if got := all(t, up); got != "bye" {
		t.Errorf("upstream got %q", got)
	}
}

// bug is a body whose content cannot be read for a mistake of ours.
type bug struct{}

func (bug) Read([]byte) (int, error) { panic("a bug in a body") }
func (bug) Buffered() int            { return 0 }
func (bug) Close() error             { return nil }

// A panic of the goroutine that sends a body is one of the exchange's own, which is
// guarded.
func TestABugInTheSendingOfABodyIsTheExchanges(t *testing.T) {
	t.Parallel()
	c, _ := upstream(t)
	r := post(-1)
	r.Body = bug{}
	defer c.Close()
	defer func() {
		if text, _ := recover().(string); !strings.HasPrefix(text, "a bug in a body\n") || !strings.Contains(text, "bug.Read") {
			t.Errorf("got panic %q, want the body's with its stack", text)
		}
	}()
	_, err := c.RoundTrip(r, time.Time{})
	t.Errorf("no panic, but %v", err)
}
