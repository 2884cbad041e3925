package http2_test

import (
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func TestFloodsEndTheConnection(t *testing.T) {
	slow := handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
		left := make(chan struct{})
		w.(httpmsg.Watcher).Watch(func() { close(left) })
		<-left
		w.(httpmsg.Watcher).Unwatch()
	})
	for name, c := range map[string]struct {
		h     httpmsg.Handler
		flood func(p *peer) error
	}{
		"rapid reset": {slow, func(p *peer) error {
			for id := uint32(1); id < 40000; id += 2 {
				p.request(id, true)
				if err := p.WriteRSTStream(id, xhttp2.ErrCodeCancel); err != nil {
					return err
				}
			}
			return nil
		}},
		"made to reset": {slow, func(p *peer) error {
			for id := uint32(1); id < 40000; id += 2 {
				p.request(id, true)
				if err := p.WriteWindowUpdate(id, 0); err != nil {
					return err
				}
			}
			return nil
		}},
		"malformed requests": {slow, func(p *peer) error {
			for id := uint32(1); id < 40000; id += 2 {
				if err := p.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(":method", "GET"), EndHeaders: true}); err != nil {
					return err
				}
			}
			return nil
		}},
		"continuation": {slow, func(p *peer) error {
			_ = p.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":method", "GET")})
			b := p.block("cookie", "abcdefgh")
			for range 100000 {
				if err := p.WriteContinuation(1, false, b); err != nil {
					return err
				}
			}
			return nil
		}},
		"priority": {slow, func(p *peer) error {
			for range 1000 {
				if err := p.WritePriority(7, xhttp2.PriorityParam{StreamDep: 3}); err != nil {
					return err
				}
			}
			return nil
		}},
		"window updates": {slow, func(p *peer) error {
			for range 1000 {
				if err := p.WriteWindowUpdate(0, 1); err != nil {
					return err
				}
			}
			return nil
		}},
		"empty data": {slow, func(p *peer) error {
			p.request(1, false)
			for range 10 {
				if err := p.WriteData(1, false, nil); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, result := downstream(t, http2.ServerOptions{}, c.h)
			code := make(chan xhttp2.ErrCode, 1)
			go func() {
				got, _ := p.goAway()
				code <- got
				p.conn.Close()
			}()
			_ = c.flood(p)
			if got := bounded(t, "GOAWAY", code); got != xhttp2.ErrCodeEnhanceYourCalm {
				t.Errorf("got %v", got)
			}
			if err := bounded(t, "the end", result); err == nil {
				t.Error("Serve returned no error")
			}
		})
	}
}

// A peer that asks for answers and reads none is cut off: the answers are bounded.
func TestUnreadAnswersEndTheConnection(t *testing.T) {
	for name, ask := range map[string]func(*peer) error{
		"pings":    func(p *peer) error { return p.WritePing(false, [8]byte{1}) },
		"settings": func(p *peer) error { return p.WriteSettings() },
	} {
		t.Run(name, func(t *testing.T) {
			p, _, result := downstream(t, http2.ServerOptions{}, ok200)
			_ = p.conn.SetDeadline(time.Now().Add(time.Minute))
			for range 4 << 20 {
				if ask(p) != nil {
					break
				}
			}
			p.conn.Close()
			if err := bounded(t, "the end", result); err == nil {
				t.Error("Serve returned no error")
			}
		})
	}
}

// Requests that come and go in time are no flood, however many.
func TestManyRequestsAreNoFlood(t *testing.T) {
	c := connect(t, http2.ServerOptions{}, http2.ClientOptions{}, echo)
	for range 2000 {
		mustDo(t, c, get("/"))
	}
}
