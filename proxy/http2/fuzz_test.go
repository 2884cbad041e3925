package http2_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// script is what a peer sends, as the bytes of frames.
func script(write func(*peer)) []byte {
	var b bytes.Buffer
	p := newPeer(nil, nopConn{})
	p.Framer = xhttp2.NewFramer(&b, nil)
	p.AllowIllegalWrites = true
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 100})
	write(p)
	return b.Bytes()
}

type nopConn struct{ net.Conn }

func (nopConn) SetDeadline(time.Time) error { return nil }

func FuzzServerFrames(f *testing.F) {
	f.Add(script(func(p *peer) { p.request(1, true, "cookie", "a=b", "cookie", "c=d") }))
	f.Add(script(func(p *peer) {
		p.request(1, false, "content-length", "5")
		_ = p.WriteData(1, false, []byte("12345"))
		p.headers(1, true, "sum", "1")
		_ = p.WriteWindowUpdate(1, 1000)
		_ = p.WriteRSTStream(1, 8)
	}))
	f.Add(script(func(p *peer) {
		_ = p.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":method", "GET"), PadLength: 7, Priority: xhttp2.PriorityParam{StreamDep: 3}})
		_ = p.WriteContinuation(1, true, p.block(":path", "/"))
		_ = p.WriteDataPadded(1, true, []byte("x"), []byte{0, 0})
		_ = p.WritePing(false, [8]byte{1})
		_ = p.WriteGoAway(0, 0, nil)
		_ = p.WritePriority(3, xhttp2.PriorityParam{})
	}))
	f.Fuzz(func(t *testing.T, in []byte) {
		near, far := msgtest.Pipe(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = http2.NewServerConn(near, http2.ServerOptions{}).Serve(echo)
		}()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		_, _ = io.WriteString(far, xhttp2.ClientPreface)
		_, _ = far.Write(in)
		_ = far.CloseWrite()
		bounded(t, "the end of Serve", done)
	})
}

func FuzzClientFrames(f *testing.F) {
	f.Add(script(func(p *peer) {
		p.headers(1, false, ":status", "103")
		p.headers(1, false, ":status", "200")
		_ = p.WriteData(1, true, []byte("12345"))
	}))
	f.Add(script(func(p *peer) { _ = p.WriteGoAway(0, 0, nil) }))
	f.Add(script(func(p *peer) {
		p.headers(1, false, ":status", "200", "content-length", "3")
		p.headers(1, true, "grpc-status", "0")
		_ = p.WriteRSTStream(1, 0)
	}))
	f.Fuzz(func(t *testing.T, in []byte) {
		near, far := msgtest.Pipe(t)
		c := http2.NewClientConn(near, http2.ClientOptions{})
		go func() { _, _ = io.Copy(io.Discard, far) }()
		got := make(chan error, 1)
		go func() {
			_, err := do(t, c, post("/", "a", "b"))
			got <- err
		}()
		_, _ = far.Write(in)
		_ = far.CloseWrite()
		_ = bounded(t, "the outcome", got) // any will do
		c.Close()
	})
}
