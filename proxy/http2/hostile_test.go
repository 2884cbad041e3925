package http2_test

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// Requests that the codec answers itself are answers like others: who reads none of
// them gets only so many.
func TestUnreadRepliesOfTheCodecAreBounded(t *testing.T) {
	p, _, result := downstream(t, http2.ServerOptions{}, ok200)
	_ = p.conn.SetDeadline(time.Now().Add(time.Minute))
	var err error
	for id := uint32(1); id < 4<<20 && err == nil; id += 2 {
		err = p.WriteHeaders(xhttp2.HeadersFrameParam{
			StreamID: id, BlockFragment: p.block(":method", "GET", ":scheme", "http", ":path", "/"), EndHeaders: true, EndStream: true,
		})
	}
	p.conn.Close()
	if err == nil {
		t.Error("two million requests were taken, and none of their replies was read")
	}
	if err := bounded(t, "the end", result); err == nil {
		t.Error("Serve returned no error")
	}
}

// An upstream may answer a request without having room for its body.
func TestAnswerToABodyThatFindsNoRoom(t *testing.T) {
	for name, end := range map[string]func(p *peer, id uint32){
		"without a reset": func(*peer, uint32) {},
		"with a reset":    func(p *peer, id uint32) { _ = p.WriteRSTStream(id, xhttp2.ErrCodeNo) },
	} {
		t.Run(name, func(t *testing.T) {
			p, c := upstream(t, http2.ClientOptions{}, xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
			go func() {
				p.preface()
				p.headers(p.head(0), true, ":status", "200")
				id := p.head(0)
				p.headers(id, true, ":status", "401")
				end(p, id)
			}()
			mustDo(t, c, get("/")) // the upstream's window is known now
			s, err := c.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r := post("/")
			r.Body, r.ContentLength = &ready{Reader: strings.NewReader("content that nobody reads")}, 25
			res, err := s.RoundTrip(r, time.Now().Add(time.Minute))
			if err != nil {
				t.Fatalf("got %v, want the answer", err)
			}
			if res.Status != 401 {
				t.Errorf("got %d", res.Status)
			}
		})
	}
}

// ready is content that is there.
type ready struct{ *strings.Reader }

func (r *ready) Buffered() int { return r.Len() }
func (r *ready) Close() error  { return nil }

// A connection whose chain goes away while it is being accepted still greets first.
func TestDrainBeforeTheGreeting(t *testing.T) {
	near, far := msgtest.Pipe(t)
	c := http2.NewServerConn(near, http2.ServerOptions{})
	c.Drain()
	result := make(chan error, 1)
	go func() { result <- c.Serve(ok200) }()
	p := newPeer(t, far)
	_, _ = io.WriteString(far, xhttp2.ClientPreface)
	_ = p.WriteSettings()
	if f, err := p.ReadFrame(); err != nil || f.Header().Type != xhttp2.FrameSettings {
		t.Errorf("got %v, %v; want SETTINGS first", f, err)
	}
	if code, said := p.goAway(); !said || code != xhttp2.ErrCodeNo {
		t.Errorf("got %v, %v", code, said)
	}
	if err := bounded(t, "the end", result); err != nil {
		t.Error(err)
	}
}

// gate is a connection whose next write waits.
type gate struct {
	net.Conn
	below  net.Conn
	shut   atomic.Bool
	opened chan struct{}
}

func (g *gate) NetConn() net.Conn { return g.below }

func (g *gate) CloseWrite() error { return g.below.(*net.TCPConn).CloseWrite() }

func (g *gate) Write(p []byte) (int, error) {
	if g.shut.Swap(false) {
		<-g.opened
	}
	return g.Conn.Write(p)
}

// A response that somebody else is about to write is not cut off by the end of a
// drain.
func TestDrainWaitsForWhoWrites(t *testing.T) {
	near, far := msgtest.Pipe(t)
	g := &gate{Conn: near, below: near, opened: make(chan struct{})}
	c := http2.NewServerConn(g, http2.ServerOptions{})
	arrived, answer := make(chan struct{}), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- c.Serve(handlerFunc(func(w httpmsg.ResponseWriter, r *httpmsg.Request) {
			close(arrived)
			<-answer
			ok200(w, r)
		}))
	}()
	p := newPeer(t, far)
	_, _ = io.WriteString(far, xhttp2.ClientPreface)
	_ = p.WriteSettings()
	p.request(1, true)
	<-arrived
	p.until("the acknowledgement", func(f xhttp2.Frame) bool {
		s, ok := f.(*xhttp2.SettingsFrame)
		return ok && s.IsAck()
	})
	g.shut.Store(true)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		c.Drain() // writes, for all others
	}()
	eventually(t, "the write", func() bool { return !g.shut.Load() })
	close(answer)
	timer := time.AfterFunc(1300*time.Millisecond, func() { close(g.opened) }) // the drain is over by then
	defer timer.Stop()
	if got := p.response(1).PseudoValue("status"); got != "200" {
		t.Errorf("got %q", got)
	}
	<-drained
	if err := bounded(t, "the end", result); err != nil {
		t.Error(err)
	}
}

// SETTINGS that move the windows of many streams are work for nothing, even where their
// acknowledgements are read.
func TestSettingsThatKeepMovingWindowsEndTheConnection(t *testing.T) {
	slow := handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		left := make(chan struct{})
		w.(httpmsg.Watcher).Watch(func() { close(left) })
		<-left
		w.(httpmsg.Watcher).Unwatch()
	})
	p, _, result := downstream(t, http2.ServerOptions{}, slow)
	for id := uint32(1); id < 200; id += 2 {
		p.request(id, true)
	}
	code := make(chan xhttp2.ErrCode, 1)
	go func() {
		got, _ := p.goAway()
		code <- got
		p.conn.Close()
	}()
	var moves []xhttp2.Setting
	for i := range 64 {
		moves = append(moves, xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: uint32(1000 + i%7)})
	}
	for range 100000 {
		moves[63].Val++
		if p.WriteSettings(moves...) != nil {
			break
		}
	}
	if got := bounded(t, "GOAWAY", code); got != xhttp2.ErrCodeEnhanceYourCalm {
		t.Errorf("got %v", got)
	}
	if err := bounded(t, "the end", result); err == nil {
		t.Error("Serve returned no error")
	}
}

// A frame that says that it is padded, and has no byte to say by how much, is an error
// at once: what comes next belongs to the next frame (RFC 9113 section 4.2).
func TestPaddedFrameWithoutALength(t *testing.T) {
	for name, c := range map[string]struct {
		kind  xhttp2.FrameType
		flags xhttp2.Flags
	}{
		"content": {xhttp2.FrameData, xhttp2.FlagDataPadded},
		"a head":  {xhttp2.FrameHeaders, xhttp2.FlagHeadersPadded | xhttp2.FlagHeadersEndHeaders},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, _ := downstream(t, http2.ServerOptions{}, ok200)
			_ = p.conn.SetDeadline(time.Now().Add(3 * time.Second))
			_ = p.WriteRawFrame(c.kind, c.flags, 1, nil)
			if code, said := p.goAway(); !said || code != xhttp2.ErrCodeFrameSize {
				t.Errorf("ended with %v, %v", code, said)
			}
		})
	}
}
