package http2_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

func TestMalformedRequestsAreReset(t *testing.T) {
	usual := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop"}
	with := func(more ...string) []string { return append(append([]string(nil), usual...), more...) }
	for name, fields := range map[string][]string{
		"no method":               {":scheme", "http", ":path", "/", ":authority", "a"},
		"no scheme":               {":method", "GET", ":path", "/", ":authority", "a"},
		"no path":                 {":method", "GET", ":scheme", "http", ":authority", "a"},
		"empty path":              {":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"},
		"relative path":           {":method", "GET", ":scheme", "http", ":path", "x", ":authority", "a"},
		"space in path":           {":method", "GET", ":scheme", "http", ":path", "/a b", ":authority", "a"},
		"method twice":            with(":method", "GET"),
		"status in a request":     {":method", "GET", ":scheme", "http", ":path", "/", ":status", "200"},
		"unknown pseudo":          {":method", "GET", ":scheme", "http", ":path", "/", ":what", "a"},
		"pseudo after regular":    {":method", "GET", "a", "b", ":scheme", "http", ":path", "/"},
		"upper case":              with("X-Upper", "a"),
		"empty name":              with("", "a"),
		"space in name":           with("a b", "c"),
		"NUL in value":            with("a", "b\x00c"),
		"line feed in value":      with("a", "b\nc"),
		"carriage return":         with("a", "b\rc"),
		"connection":              with("connection", "close"),
		"keep-alive":              with("keep-alive", "1"),
		"transfer-encoding":       with("transfer-encoding", "chunked"),
		"upgrade":                 with("upgrade", "websocket"),
		"te":                      with("te", "trailers, gzip"),
		"bad authority":           {":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a b"},
		"two hosts":               {":method", "GET", ":scheme", "http", ":path", "/", "host", "a", "host", "b"},
		"length of a bodyless":    with("content-length", "5"),
		"two lengths":             with("content-length", "0", "content-length", "1"),
		"equal lengths":           with("content-length", "0", "content-length", "0"),
		"signed length":           with("content-length", "+5"),
		"connect with path":       {":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "a:1"},
		"protocol without leave":  {":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "a", ":protocol", "websocket"},
		"scheme that is not HTTP": {":method", "GET", ":scheme", "ftp", ":path", "/", ":authority", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			var rejected []string
			p, _, _ := downstream(t, http2.ServerOptions{Reject: func(e *http2.ProtocolError) { rejected = append(rejected, e.Details) }}, ok200)
			p.headers(1, true, fields...)
			if got := p.reset(1); got != xhttp2.ErrCodeProtocol {
				t.Errorf("got %v", got)
			}
			p.request(3, true)
			if got := p.response(3).PseudoValue("status"); got != "200" {
				t.Errorf("the next request: %s", got)
			}
			if len(rejected) != 1 {
				t.Errorf("rejected %v", rejected)
			}
		})
	}
}

func TestContentLengthMustAgree(t *testing.T) {
	for name, send := range map[string]func(*peer){
		"longer":  func(p *peer) { _ = p.WriteData(1, false, []byte("123456")) },
		"shorter": func(p *peer) { _ = p.WriteData(1, true, []byte("123")) },
		"trailer": func(p *peer) { _ = p.WriteData(1, false, []byte("123")); p.headers(1, true, "a", "b") },
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(_ httpmsg.ResponseWriter, r *httpmsg.Request) {
				_, err := io.ReadAll(r.Body)
				read <- err
			}))
			p.request(1, false, "content-length", "5")
			send(p)
			if got := p.reset(1); got != xhttp2.ErrCodeProtocol {
				t.Errorf("got %v", got)
			}
			fe, ok := flow.AsError(bounded(t, "error", read))
			if !ok || fe.Side != flow.SideDownstream || fe.Flag != flow.DownstreamProtocolError {
				t.Errorf("got %v", fe)
			}
		})
	}
}

func TestMissingAuthorityIsAnswered(t *testing.T) {
	p, _, _ := downstream(t, http2.ServerOptions{}, ok200)
	p.headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/")
	if got := p.response(1).PseudoValue("status"); got != "400" {
		t.Errorf("got %s", got)
	}
	p.headers(3, true, ":method", "GET", ":scheme", "http", ":path", "/", "host", "shop")
	if got := p.response(3).PseudoValue("status"); got != "200" {
		t.Errorf("got %s", got)
	}
}

func TestExpectIsAnswered(t *testing.T) {
	p, _, _ := downstream(t, http2.ServerOptions{}, echo)
	p.request(1, false, "expect", "100-continue")
	if got := p.response(1).PseudoValue("status"); got != "100" {
		t.Errorf("got %s", got)
	}
	_ = p.WriteData(1, true, []byte("x"))
	if got := p.response(1).PseudoValue("status"); got != "200" {
		t.Errorf("got %s", got)
	}
}

func TestCookieCrumbsAreJoined(t *testing.T) {
	got := make(chan string, 1)
	p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		got <- r.Header.Value("cookie")
		ok200(w, r)
	}))
	p.request(1, true, "cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3")
	if c := bounded(t, "cookie", got); c != "a=1; b=2; c=3" {
		t.Errorf("got %q", c)
	}
}

func TestHeadLimits(t *testing.T) {
	for name, more := range map[string][]string{
		"count": func() (f []string) {
			for range 120 {
				f = append(f, "cookie", "a=b")
			}
			return f
		}(),
		"one value": {"a", strings.Repeat("x", 70<<10)},
		"size":      {"a", strings.Repeat("x", 30<<10), "b", strings.Repeat("y", 31<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, _ := downstream(t, http2.ServerOptions{}, ok200)
			block := p.block(append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop"}, more...)...)
			first := true
			for len(block) > 0 {
				n := min(len(block), 16000)
				if first {
					_ = p.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:n], EndHeaders: n == len(block), EndStream: true})
				} else {
					_ = p.WriteContinuation(1, n == len(block), block[:n])
				}
				block, first = block[n:], false
			}
			if got := p.reset(1); got != xhttp2.ErrCodeInternal {
				t.Errorf("got %v", got)
			}
			p.request(3, true, "cookie", "a=b")
			if got := p.response(3).PseudoValue("status"); got != "200" {
				t.Errorf("the next request: %s", got)
			}
		})
	}
}

func TestWatchTellsAReset(t *testing.T) {
	gone := make(chan struct{})
	p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		left := make(chan struct{})
		w.(httpmsg.Watcher).Watch(func() { close(left) })
		<-left
		w.(httpmsg.Watcher).Unwatch()
		close(gone)
	}))
	p.request(1, true)
	_ = p.WriteRSTStream(1, xhttp2.ErrCodeCancel)
	bounded(t, "the call", gone)
}

func TestWatchTellsOfAnEarlierResetAtOnce(t *testing.T) {
	reset, told := make(chan struct{}), make(chan bool, 1)
	p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		<-reset
		left := false
		w.(httpmsg.Watcher).Watch(func() { left = true })
		told <- left
		w.(httpmsg.Watcher).Unwatch()
	}))
	p.request(1, true)
	_ = p.WriteRSTStream(1, xhttp2.ErrCodeCancel)
	_ = p.WritePing(false, [8]byte{1})
	p.until("the answer to the ping", func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.PingFrame); return ok })
	close(reset)
	if !bounded(t, "the call", told) {
		t.Error("something could be begun for a downstream that has left")
	}
}

func TestWatchTellsAConnectionLoss(t *testing.T) {
	gone, started := make(chan struct{}), make(chan struct{})
	p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		left := make(chan struct{})
		close(started)
		w.(httpmsg.Watcher).Watch(func() { close(left) })
		<-left
		w.(httpmsg.Watcher).Unwatch()
		close(gone)
	}))
	p.request(1, true)
	bounded(t, "the request", started)
	p.conn.Close()
	bounded(t, "the call", gone)
}

func TestDrainBesideTheEndOfTheConnection(t *testing.T) {
	for range 50 {
		near, far := net.Pipe() // no socket: all writing is left to a goroutine
		c := http2.NewServerConn(near, http2.ServerOptions{})
		result := make(chan error, 1)
		go func() { result <- c.Serve(handlerFunc(ok200)) }()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(io.Discard, far) })
		_, _ = io.WriteString(far, xhttp2.ClientPreface)
		wg.Go(c.Drain)
		far.Close()
		wg.Wait()
		_ = bounded(t, "the end", result)
	}
}

func TestHowADownstreamLeft(t *testing.T) {
	for name, c := range map[string]struct {
		leave   func(p *peer)
		flag    flow.Flag
		details string
	}{
		"reset":            {func(p *peer) { _ = p.WriteRSTStream(1, xhttp2.ErrCodeCancel) }, flow.DownstreamRemoteReset, "http2.remote_reset"},
		"refused":          {func(p *peer) { _ = p.WriteRSTStream(1, xhttp2.ErrCodeRefusedStream) }, flow.DownstreamRemoteReset, "http2.remote_refuse"},
		"closed":           {func(p *peer) { p.conn.Close() }, flow.DownstreamConnectionTermination, "downstream_remote_disconnect"},
		"body too long":    {func(p *peer) { _ = p.WriteData(1, false, []byte("abcdef")) }, flow.DownstreamProtocolError, "http2.violation.of.messaging.rule"},
		"body too short":   {func(p *peer) { _ = p.WriteData(1, true, []byte("a")) }, flow.DownstreamProtocolError, "http2.violation.of.messaging.rule"},
		"pseudo at length": {func(p *peer) { p.headers(1, true, ":path", "/") }, flow.DownstreamProtocolError, "http2.invalid.header.field"},
	} {
		t.Run(name, func(t *testing.T) {
			why, started := make(chan error, 1), make(chan struct{})
			p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
				close(started)
				left := make(chan struct{})
				w.(httpmsg.Watcher).Watch(func() { close(left) })
				<-left
				why <- w.(interface{ Left() error }).Left()
				w.(httpmsg.Watcher).Unwatch()
			}))
			p.request(1, false, "content-length", "5")
			bounded(t, "the request", started)
			c.leave(p)
			fe, ok := flow.AsError(bounded(t, "the end", why))
			if !ok || fe.Flag != c.flag || fe.Details != c.details {
				t.Errorf("got %+v, want %v and %s", fe, c.flag, c.details)
			}
		})
	}
}

func TestAConnectionThatEndsWithinABodyDoesNotEndTheBody(t *testing.T) {
	for name, fields := range map[string][]string{
		"with content-length": {"content-length", "9"},
		"without":             nil,
	} {
		t.Run("request "+name, func(t *testing.T) {
			begun, ended := make(chan error, 1), make(chan error, 1)
			p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(_ httpmsg.ResponseWriter, r *httpmsg.Request) {
				_, err := io.ReadFull(r.Body, make([]byte, len("begin")))
				begun <- err
				_, err = io.ReadAll(r.Body)
				ended <- err
			}))
			p.request(1, false, fields...)
			_ = p.WriteData(1, false, []byte("begin"))
			if err := bounded(t, "the body's begin", begun); err != nil {
				t.Errorf("the body's begin: %v", err)
			}
			p.conn.Close() // with unread frames: the server may see a reset
			if err := bounded(t, "the body's end", ended); err == nil {
				t.Error("the body was taken for whole")
			}
		})
		t.Run("response "+name, func(t *testing.T) {
			p, up := upstream(t, http2.ClientOptions{})
			got := ask(t, up, get("/"))
			p.preface()
			id := p.head(0)
			p.headers(id, false, append([]string{":status", "200"}, fields...)...)
			_ = p.WriteData(id, false, []byte("begin"))
			p.conn.Close()
			if o := bounded(t, "the exchange", got); o.err == nil {
				t.Error("the body was taken for whole")
			}
		})
	}
}

func TestDrainInTwoSteps(t *testing.T) {
	release := make(chan struct{})
	p, c, result := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		<-release
		ok200(w, r)
	}))
	p.request(1, true)
	p.until("ACK", func(f xhttp2.Frame) bool { s, ok := f.(*xhttp2.SettingsFrame); return ok && s.IsAck() })
	c.Drain()
	g := p.until("GOAWAY", func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.GoAwayFrame); return ok }).(*xhttp2.GoAwayFrame)
	if g.LastStreamID != 1<<31-1 {
		t.Errorf("first GOAWAY names %d", g.LastStreamID)
	}
	ping := p.until("PING", func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.PingFrame); return ok }).(*xhttp2.PingFrame)
	p.request(3, true) // was on its way
	_ = p.WritePing(true, ping.Data)
	g = p.until("GOAWAY", func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.GoAwayFrame); return ok }).(*xhttp2.GoAwayFrame)
	if g.LastStreamID != 3 || g.ErrCode != xhttp2.ErrCodeNo {
		t.Errorf("second GOAWAY: %v", g)
	}
	close(release)
	answered := map[uint32]bool{}
	p.until("both responses", func(f xhttp2.Frame) bool {
		answered[f.Header().StreamID] = true
		return answered[1] && answered[3]
	})
	p.goAway()
	p.conn.Close()
	if err := bounded(t, "the end", result); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestStreamsOverTheLimitAreRefused(t *testing.T) {
	release := make(chan struct{})
	p, _, _ := downstream(t, http2.ServerOptions{Settings: http2.Settings{MaxConcurrentStreams: 2}}, handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
		<-release
		ok200(w, r)
	}))
	defer close(release)
	for id := uint32(1); id <= 5; id += 2 {
		p.request(id, true)
	}
	if got := p.reset(5); got != xhttp2.ErrCodeRefusedStream {
		t.Errorf("got %v", got)
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	p, _, result := downstream(t, http2.ServerOptions{IdleTimeout: time.Second}, ok200)
	p.request(1, true)
	if code, said := p.goAway(); !said || code != xhttp2.ErrCodeNo {
		t.Errorf("got %v, %v", code, said)
	}
	p.conn.Close()
	if err := bounded(t, "the end", result); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestFlowControlHoldsTheResponseBack(t *testing.T) {
	p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		_, _ = w.WriteResponse(msgtest.Text(strings.Repeat("x", 200<<10)))
	}))
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 10})
	p.until("ACK", func(f xhttp2.Frame) bool { s, ok := f.(*xhttp2.SettingsFrame); return ok && s.IsAck() })
	p.request(1, true)
	p.response(1)
	data := func(want int) {
		t.Helper()
		for got := 0; got < want; {
			f := p.until("DATA", func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.DataFrame); return ok }).(*xhttp2.DataFrame)
			if got += len(f.Data()); got > want {
				t.Fatalf("got %d bytes, want %d", got, want)
			}
		}
	}
	data(10)
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1000}) // wakes it
	data(990)
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0}) // makes it negative
	_ = p.WriteWindowUpdate(1, 1500)
	data(500)
	_ = p.WriteWindowUpdate(1, 1<<20)
	data(65535 - 1500) // the connection's window
	_ = p.WriteWindowUpdate(0, 1<<20)
	data(200<<10 - 65535)
}

func TestEarlyResponseResetsTheRest(t *testing.T) {
	p, _, _ := downstream(t, http2.ServerOptions{}, ok200)
	p.request(1, false)
	p.response(1)
	if got := p.reset(1); got != xhttp2.ErrCodeNo {
		t.Errorf("got %v", got)
	}
	_ = p.WriteData(1, true, []byte("late")) // is passed over
	p.request(3, true)
	p.response(3)
}

func TestHandlerWithoutResponseResets(t *testing.T) {
	p, _, _ := downstream(t, http2.ServerOptions{}, handlerFunc(func(httpmsg.ResponseWriter, *httpmsg.Request) {}))
	p.request(1, true)
	if got := p.reset(1); got != xhttp2.ErrCodeInternal {
		t.Errorf("got %v", got)
	}
}
