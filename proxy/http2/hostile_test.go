package http2_test

import (
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
)

// Requests that the codec answers itself are answers like others: who reads none of
// them gets only so many.
func TestUnreadRepliesOfTheCodecAreBounded(t *testing.T) {
	p, _, result := downstream(t, http2.ServerOptions{}, ok200)
	_ = p.conn.SetDeadline(time.Now().Add(30 * time.Second))
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
			res, err := s.RoundTrip(r, time.Now().Add(3*time.Second))
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
