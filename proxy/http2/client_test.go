package http2_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

type outcome struct {
	answer
	err error
}

// ask does an exchange beside the script.
func ask(t *testing.T, c *http2.ClientConn, r *httpmsg.Request) <-chan outcome {
	t.Helper()
	ch := make(chan outcome, 1)
	go func() {
		a, err := do(t, c, r)
		ch <- outcome{a, err}
	}()
	return ch
}

func TestUpstreamFailures(t *testing.T) {
	for name, c := range map[string]struct {
		script func(p *peer, id uint32)
		kind   flow.Kind
		flag   flow.Flag
		retry  flow.Retry
	}{
		"reset":       {func(p *peer, id uint32) { _ = p.WriteRSTStream(id, xhttp2.ErrCodeInternal) }, flow.KindReset, flow.UpstreamRemoteReset, flow.RetryReset},
		"refused":     {func(p *peer, id uint32) { _ = p.WriteRSTStream(id, xhttp2.ErrCodeRefusedStream) }, flow.KindRefusedStream, flow.UpstreamRemoteReset, flow.RetryUnsent},
		"goaway":      {func(p *peer, _ uint32) { _ = p.WriteGoAway(0, xhttp2.ErrCodeNo, nil) }, flow.KindRefusedStream, flow.UpstreamRemoteReset, flow.RetryUnsent},
		"closed":      {func(p *peer, _ uint32) { p.conn.Close() }, flow.KindTermination, flow.UpstreamConnectionTermination, flow.RetryUnanswered},
		"no status":   {func(p *peer, id uint32) { p.headers(id, true, "a", "b") }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"bad status":  {func(p *peer, id uint32) { p.headers(id, true, ":status", "2x0") }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"switching":   {func(p *peer, id uint32) { p.headers(id, false, ":status", "101") }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"connection":  {func(p *peer, id uint32) { p.headers(id, true, ":status", "200", "connection", "close") }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"data first":  {func(p *peer, id uint32) { _ = p.WriteData(id, true, []byte("x")) }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"short":       {func(p *peer, id uint32) { p.headers(id, true, ":status", "200", "content-length", "3") }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"204 length":  {func(p *peer, id uint32) { p.headers(id, false, ":status", "204", "content-length", "3") }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"even stream": {func(p *peer, _ uint32) { p.headers(2, true, ":status", "200") }, flow.KindProtocol, flow.UpstreamProtocolError, flow.RetryReset},
		"too large": {func(p *peer, id uint32) {
			h := []string{":status", "200"}
			for range 110 {
				h = append(h, "a", "b")
			}
			p.headers(id, true, h...)
		}, flow.KindReset, flow.UpstreamRemoteReset, flow.RetryReset},
	} {
		t.Run(name, func(t *testing.T) {
			p, up := upstream(t, http2.ClientOptions{})
			got := ask(t, up, get("/"))
			p.preface()
			c.script(p, p.head(0))
			fe, ok := flow.AsError(bounded(t, "the end", got).err)
			if !ok || fe.Side != flow.SideUpstream || fe.Kind != c.kind || fe.Flag != c.flag || fe.Retry != c.retry {
				t.Errorf("got %+v", fe)
			}
		})
	}
}

// A response may by its nature have no content (RFC 9110 section 6.4.1), whatever
// length it announces.
func TestContentThatNoResponseHas(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		head   []string
	}{
		"to HEAD":                     {"HEAD", []string{":status", "200"}},
		"to HEAD, with its length":    {"HEAD", []string{":status", "200", "content-length", "5"}},
		"no content":                  {"GET", []string{":status", "204"}},
		"not modified":                {"GET", []string{":status", "304"}},
		"not modified, with a length": {"GET", []string{":status", "304", "content-length", "5"}},
	} {
		exchange := func(t *testing.T, content string) (*peer, uint32, <-chan outcome) {
			p, up := upstream(t, http2.ClientOptions{})
			r := get("/")
			r.Method = c.method
			got := ask(t, up, r)
			p.preface()
			id := p.head(0)
			p.headers(id, false, c.head...)
			_ = p.WriteData(id, true, []byte(content))
			return p, id, got
		}
		t.Run(name, func(t *testing.T) {
			p, id, got := exchange(t, "hello")
			if code := p.reset(id); code != xhttp2.ErrCodeProtocol {
				t.Errorf("reset with %v", code)
			}
			out := bounded(t, "the end", got)
			if fe, ok := flow.AsError(out.err); !ok || fe.Flag != flow.UpstreamProtocolError {
				t.Errorf("got %q, %v", out.body, out.err)
			}
		})
		t.Run(name+", and there is none", func(t *testing.T) {
			_, _, got := exchange(t, "")
			if out := bounded(t, "the end", got); out.err != nil || out.body != "" {
				t.Errorf("got %q, %v", out.body, out.err)
			}
		})
	}
}

func TestResponseThatIsCompleteOutlivesWhatComesAfter(t *testing.T) {
	errLate := &flow.Error{Side: flow.SideInternal, Kind: flow.KindTimeout}
	for name, after := range map[string]func(p *peer, s *http2.ClientStream){
		"an abort": func(_ *peer, s *http2.ClientStream) { s.Abort(errLate) },
		"the connection's end": func(p *peer, _ *http2.ClientStream) {
			_ = p.WriteGoAway(1<<31-1, xhttp2.ErrCodeNo, nil)
			p.conn.Close()
		},
	} {
		for _, body := range []string{"", "body"} {
			t.Run(name+" "+body, func(t *testing.T) {
				p, up := upstream(t, http2.ClientOptions{})
				s, err := up.Open()
				if err != nil {
					t.Fatal(err)
				}
				r, arrived := get("/"), make(chan struct{})
				r.Interim = func(int, *httpmsg.Header) error { // all has come before the head is returned
					<-arrived
					after(p, s)
					return nil
				}
				go func() {
					defer close(arrived)
					p.preface()
					id := p.head(0)
					p.headers(id, false, ":status", "103")
					p.headers(id, body == "", ":status", "200", "grpc-status", "4")
					if body != "" {
						_ = p.WriteData(id, true, []byte(body))
					}
					_ = p.WritePing(false, [8]byte{1})
					p.until("an answer to the ping", func(f xhttp2.Frame) bool {
						ping, ok := f.(*xhttp2.PingFrame)
						return ok && ping.IsAck()
					})
				}()
				resp, err := s.RoundTrip(r, time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if body == "" && resp.Body != httpmsg.NoBody {
					t.Error("a response that ended with its head has a body")
				}
				if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
	}
}

func TestInterimResponses(t *testing.T) {
	p, up := upstream(t, http2.ClientOptions{})
	r := get("/")
	var seen []int
	r.Interim = func(status int, h *httpmsg.Header) error {
		seen = append(seen, status)
		if status == 103 && h.Value("link") != "a" {
			t.Errorf("header %v", h)
		}
		return nil
	}
	got := ask(t, up, r)
	p.preface()
	id := p.head(0)
	p.headers(id, false, ":status", "100")
	p.headers(id, false, ":status", "103", "link", "a")
	p.headers(id, false, ":status", "200")
	_ = p.WriteData(id, false, []byte("body"))
	p.headers(id, true, "sum", "1")
	o := bounded(t, "response", got)
	if o.err != nil || o.body != "body" || o.trailer.Value("sum") != "1" || len(seen) != 2 {
		t.Errorf("got %+v, interim %v", o, seen)
	}
}

func TestMaxConcurrentStreams(t *testing.T) {
	space := make(chan struct{}, 8)
	p, up := upstream(t, http2.ClientOptions{OnSpace: func() { space <- struct{}{} }},
		xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 1})
	first := ask(t, up, get("/"))
	p.preface()
	id := p.head(0)
	eventually(t, "a full connection", func() bool { return up.Available() == 0 })
	if _, err := up.Open(); !errors.Is(err, http2.ErrFull) || up.Available() != 0 || up.Active() != 1 {
		t.Errorf("got %v, available %d, active %d", err, up.Available(), up.Active())
	}
	p.headers(id, true, ":status", "200")
	bounded(t, "response", first)
	bounded(t, "space", space)
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 0})
	eventually(t, "a full connection", func() bool { return up.Available() == 0 })
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 5})
	bounded(t, "space after SETTINGS", space)
}

func TestGoAwayLetsEarlierStreamsEnd(t *testing.T) {
	ended := make(chan error, 2)
	p, up := upstream(t, http2.ClientOptions{OnEnd: func(err error) { ended <- err }})
	got := ask(t, up, get("/"))
	p.preface()
	id := p.head(0)
	_ = p.WriteGoAway(1<<31-1, xhttp2.ErrCodeNo, nil)
	if err := bounded(t, "OnEnd", ended); err != nil {
		t.Errorf("OnEnd(%v)", err)
	}
	if _, err := up.Open(); !errors.Is(err, http2.ErrGone) {
		t.Errorf("Open: %v", err)
	}
	p.headers(id, true, ":status", "200")
	if o := bounded(t, "response", got); o.err != nil || o.status != 200 {
		t.Errorf("got %+v", o)
	}
	p.goAway()
	if len(ended) != 0 {
		t.Error("OnEnd was called twice")
	}
}

func TestDeadlineOfTheHead(t *testing.T) {
	p, up := upstream(t, http2.ClientOptions{})
	s, err := up.Open()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.RoundTrip(get("/"), time.Now().Add(time.Second))
	if fe, ok := flow.AsError(err); !ok || fe.Kind != flow.KindTimeout {
		t.Errorf("got %v", err)
	}
	s.Close()
	p.preface()
	if got := p.reset(p.head(0)); got != xhttp2.ErrCodeCancel {
		t.Errorf("got %v", got)
	}
}

func TestBodyDeadline(t *testing.T) {
	p, up := upstream(t, http2.ClientOptions{})
	go func() {
		p.preface()
		p.headers(p.head(0), false, ":status", "200")
	}()
	s, err := up.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := s.RoundTrip(get("/"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	s.SetBodyDeadline(time.Now().Add(30 * time.Millisecond))
	_, err = res.Body.Read(make([]byte, 10))
	if fe, ok := flow.AsError(err); !ok || fe.Kind != flow.KindTimeout || fe.Retry != flow.RetryNever {
		t.Errorf("got %v", err)
	}
}

func TestAbortEndsOneStream(t *testing.T) {
	p, up := upstream(t, http2.ClientOptions{})
	s, err := up.Open()
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("why")
	done := make(chan error, 1)
	go func() {
		_, err := s.RoundTrip(get("/"), time.Time{})
		done <- err
	}()
	p.preface()
	id := p.head(0)
	s.Abort(why)
	if err := bounded(t, "the end", done); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	s.Close()
	if got := p.reset(id); got != xhttp2.ErrCodeCancel {
		t.Errorf("got %v", got)
	}
	p.headers(id, false, ":status", "200") // was on its way
	other := ask(t, up, get("/"))
	p.headers(p.head(0), true, ":status", "200")
	if o := bounded(t, "the other", other); o.err != nil {
		t.Error(o.err)
	}
}

func TestAFailingRequestBodyResets(t *testing.T) {
	p, up := upstream(t, http2.ClientOptions{})
	why := errors.New("why")
	r := post("/", "begin", "more")
	r.Body.(*content).Err = why
	got := ask(t, up, r)
	p.preface()
	id := p.head(0)
	if o := bounded(t, "the end", got); !errors.Is(o.err, why) {
		t.Errorf("got %v", o.err)
	}
	p.reset(id)
}

func TestBidirectionalStreaming(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	r, w := newWire()
	req := post("/")
	req.Body = r
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := s.RoundTrip(req, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	for _, m := range []string{"one", "two", "three"} {
		w <- m
		if n, err := res.Body.Read(b); err != nil || string(b[:n]) != m {
			t.Errorf("got %q, %v", b[:n], err)
		}
	}
	close(w)
	if _, err := res.Body.Read(b); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

// wire is a body whose content comes through a channel.
type wire struct{ in chan string }

func newWire() (*wire, chan<- string) {
	ch := make(chan string)
	return &wire{ch}, ch
}

func (w *wire) Read(p []byte) (int, error) {
	s, ok := <-w.in
	if !ok {
		return 0, io.EOF
	}
	return copy(p, s), nil
}
func (w *wire) Buffered() int { return 0 }
func (w *wire) Close() error  { return nil }

func TestTunnels(t *testing.T) {
	both := http2.Settings{AllowConnect: true}
	for name, r := range map[string]*httpmsg.Request{
		"connect":  {Method: "CONNECT", Authority: "shop:80", Body: httpmsg.NoBody},
		"extended": {Method: "GET", Upgrade: "websocket", Scheme: "http", Authority: "shop", Path: "/chat", Body: httpmsg.NoBody},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := msgtest.Pipe(t)
			seen := make(chan httpmsg.Request, 1)
			c := connect(t, http2.ServerOptions{Settings: both}, http2.ClientOptions{Settings: both},
				handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
					seen <- httpmsg.Request{Method: r.Method, Upgrade: r.Upgrade, Path: r.Path, Authority: r.Authority}
					_, _ = w.WriteResponse(&httpmsg.Response{Status: 101, Body: httpmsg.NoBody, Tunnel: near})
				}))
			s, err := c.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			res, err := s.RoundTrip(r, time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			got := bounded(t, "request", seen)
			if got.Method != r.Method || got.Upgrade != r.Upgrade || got.Path != r.Path || got.Authority != r.Authority {
				t.Errorf("got %+v", got)
			}
			want := 101
			if name == "connect" {
				want = 200
			}
			if res.Tunnel == nil || res.Status != want {
				t.Fatalf("got %+v", res)
			}
			big := strings.Repeat("up", 100<<10)
			go func() {
				_, _ = io.WriteString(res.Tunnel, big)
				_ = res.Tunnel.(interface{ CloseWrite() error }).CloseWrite()
			}()
			b, err := io.ReadAll(far)
			if err != nil || string(b) != big {
				t.Errorf("up: %d bytes, %v", len(b), err)
			}
			_, _ = io.WriteString(far, "down")
			_ = far.CloseWrite()
			if b, err := io.ReadAll(res.Tunnel); err != nil || string(b) != "down" {
				t.Errorf("down: %q, %v", b, err)
			}
		})
	}
}

func TestKeepAlive(t *testing.T) {
	ended := make(chan error, 1)
	o := http2.ClientOptions{OnEnd: func(err error) { ended <- err }}
	o.KeepAlive = http2.KeepAlive{Interval: 20 * time.Millisecond, Timeout: 2 * time.Second}
	p, _ := upstream(t, o)
	p.preface()
	isPing := func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.PingFrame); return ok }
	f := p.until("PING", isPing).(*xhttp2.PingFrame)
	_ = p.WritePing(true, f.Data)
	p.until("PING", isPing) // has no answer
	if err := bounded(t, "the end", ended); err == nil {
		t.Error("no error")
	}
}

// One stream whose reader has stopped must not hold up the others, and must not hold
// more than its window.
func TestAStoppedReaderDoesNotStarveOthers(t *testing.T) {
	small := http2.Settings{InitialStreamWindow: 65535, InitialConnWindow: 65535}
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{Settings: small},
		handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
			_, _ = w.WriteResponse(msgtest.Text(strings.Repeat("x", 1<<20)))
		}))
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	stuck, err := s.RoundTrip(get("/stuck"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if a := mustDo(t, c, get("/")); len(a.body) != 1<<20 {
			t.Errorf("got %d bytes", len(a.body))
		}
	}
	if n := stuck.Body.Buffered(); n > 65535 {
		t.Errorf("%d bytes wait", n)
	}
	b, err := io.ReadAll(stuck.Body)
	if err != nil || len(b) != 1<<20 {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
	s.Close()
}

// bug is a body whose content cannot be read for a mistake of ours.
type bug struct{}

func (bug) Read([]byte) (int, error) { panic("a bug in a body") }
func (bug) Buffered() int            { return 0 }
func (bug) Close() error             { return nil }

// A panic of the goroutine that sends a body is one of the exchange's own, which is
// guarded; other exchanges go on.
func TestABugInTheSendingOfABodyIsTheExchanges(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	r := post("/")
	r.Body = bug{}
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { mustDo(t, c, get("/")) }()
	defer func() {
		if text, _ := recover().(string); !strings.HasPrefix(text, "a bug in a body\n") || !strings.Contains(text, "bug.Read") {
			t.Errorf("got panic %q, want the body's with its stack", text)
		}
	}()
	defer s.Close()
	res, err := s.RoundTrip(r, time.Time{})
	if err == nil { // the answer was faster
		_, err = io.ReadAll(res.Body)
	}
	s.Close()
	t.Errorf("no panic, but %v", err)
}
