package http2_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// peer speaks frames by hand.
type peer struct {
	*xhttp2.Framer
	tb   testing.TB
	conn net.Conn
	enc  *hpack.Encoder
	buf  bytes.Buffer
}

func newPeer(tb testing.TB, nc net.Conn) *peer {
	p := &peer{tb: tb, conn: nc, Framer: xhttp2.NewFramer(nc, nc)}
	p.enc = hpack.NewEncoder(&p.buf)
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return p
}

// downstream is a scripted downstream of a server of ours, after its greeting.
func downstream(tb testing.TB, o http2.ServerOptions, h httpmsg.Handler) (*peer, *http2.ServerConn, <-chan error) {
	tb.Helper()
	c, far, result := serve(tb, o, h)
	p := newPeer(tb, far)
	_, _ = io.WriteString(far, xhttp2.ClientPreface)
	_ = p.WriteSettings()
	_ = p.WriteSettingsAck()
	return p, c, result
}

// upstream is a scripted upstream of a client of ours, after its greeting.
func upstream(tb testing.TB, o http2.ClientOptions, settings ...xhttp2.Setting) (*peer, *http2.ClientConn) {
	tb.Helper()
	near, far := msgtest.Pipe(tb)
	c := http2.NewClientConn(far, o)
	tb.Cleanup(func() { near.Close(); c.Close() })
	p := newPeer(tb, near)
	_ = p.WriteSettings(settings...)
	return p, c
}

// preface reads what a client begins with.
func (p *peer) preface() {
	b := make([]byte, len(xhttp2.ClientPreface))
	if _, err := io.ReadFull(p.conn, b); err != nil || string(b) != xhttp2.ClientPreface {
		p.tb.Errorf("preface: %q, %v", b, err)
	}
}

func (p *peer) block(fields ...string) []byte {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(p.buf.Bytes())
}

func (p *peer) request(id uint32, end bool, more ...string) {
	p.headers(id, end, append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop"}, more...)...)
}

func (p *peer) headers(id uint32, end bool, fields ...string) {
	_ = p.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndHeaders: true, EndStream: end})
}

// until reads frames until one for which want is true.
func (p *peer) until(what string, want func(xhttp2.Frame) bool) xhttp2.Frame {
	p.tb.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.tb.Fatalf("%s did not come: %v", what, err)
		}
		if want(f) {
			return f
		}
	}
}

func (p *peer) reset(id uint32) xhttp2.ErrCode {
	p.tb.Helper()
	f := p.until("RST_STREAM", func(f xhttp2.Frame) bool {
		r, ok := f.(*xhttp2.RSTStreamFrame)
		return ok && r.StreamID == id
	})
	return f.(*xhttp2.RSTStreamFrame).ErrCode
}

// goAway reads until the connection's end, and returns the last GOAWAY's code.
func (p *peer) goAway() (xhttp2.ErrCode, bool) {
	p.tb.Helper()
	code, said := xhttp2.ErrCode(0), false
	for {
		f, err := p.ReadFrame()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				p.tb.Fatal("the connection did not end")
			}
			return code, said
		}
		if g, ok := f.(*xhttp2.GoAwayFrame); ok {
			code, said = g.ErrCode, true
		}
	}
}

func (p *peer) response(id uint32) *xhttp2.MetaHeadersFrame {
	p.tb.Helper()
	return p.until("response", func(f xhttp2.Frame) bool {
		h, ok := f.(*xhttp2.MetaHeadersFrame)
		return ok && h.StreamID == id
	}).(*xhttp2.MetaHeadersFrame)
}

func (p *peer) head(id uint32) uint32 {
	return p.until("request", func(f xhttp2.Frame) bool {
		h, ok := f.(*xhttp2.MetaHeadersFrame)
		return ok && (id == 0 || h.StreamID == id)
	}).Header().StreamID
}

// eventually polls.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("%s did not come", what)
		}
	}
}

var ok200 = handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
	_, _ = w.WriteResponse(&httpmsg.Response{Status: 200, Body: httpmsg.NoBody})
})
