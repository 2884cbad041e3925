package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outrigger-mesh/outrigger/proxy"
)

// stream2 is a CONNECT over HTTP/2.
type stream2 struct {
	conn net.Conn
	fr   *xhttp2.Framer
}

func connect2(t *testing.T, g *rig, more ...string) *stream2 {
	t.Helper()
	c := g.dial()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(c, xhttp2.ClientPreface)
	s := &stream2{conn: c, fr: xhttp2.NewFramer(c, c)}
	s.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = s.fr.WriteSettings()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	fields := append([]string{":method", "CONNECT", ":authority", "db.example:5432"}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = s.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes(), EndHeaders: true})
	if m, ok := s.next(t).(*xhttp2.MetaHeadersFrame); !ok || m.PseudoValue("status") != "200" {
		t.Fatalf("got %v, want 200", m)
	}
	return s
}

// next reads the next frame that is about the stream.
func (s *stream2) next(t *testing.T) xhttp2.Frame {
	t.Helper()
	for {
		f, err := s.fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f.Header().StreamID == 1 && f.Header().Type != xhttp2.FrameWindowUpdate {
			return f
		}
	}
}

// says sends a word and waits for it to come back.
func (s *stream2) says(t *testing.T, word string) {
	t.Helper()
	_ = s.fr.WriteData(1, false, []byte(word))
	for got := ""; got != word; {
		d, ok := s.next(t).(*xhttp2.DataFrame)
		if !ok {
			t.Fatalf("got %v after %q, want %q", d, got, word)
		}
		got += string(d.Data())
	}
}

func TestTunnelsOverHTTP2TellWhoEndedThem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end     func(t *testing.T, s *stream2)
		flags   string
		details string
	}{
		"reset by the downstream": {func(_ *testing.T, s *stream2) {
			_ = s.fr.WriteRSTStream(1, xhttp2.ErrCodeCancel)
		}, "DR", "http2.remote_reset"},
		"the downstream is gone": {func(_ *testing.T, s *stream2) {
			_ = s.conn.Close()
		}, "DC", "downstream_remote_disconnect"},
		"ended by both": {func(t *testing.T, s *stream2) {
			_ = s.fr.WriteData(1, true, nil)
			if d, ok := s.next(t).(*xhttp2.DataFrame); !ok || !d.StreamEnded() {
				t.Errorf("got %v, want the end", d)
			}
		}, "-", "via_upstream"},
		"ended by the upstream, and left": {func(t *testing.T, s *stream2) {
			_ = s.fr.WriteData(1, false, []byte("?"))
			if d, ok := s.next(t).(*xhttp2.DataFrame); !ok || !d.StreamEnded() {
				t.Errorf("got %v, want the end", d)
			}
			_ = s.conn.Close()
		}, "-", "via_upstream"},
		"reset by the upstream": {func(t *testing.T, s *stream2) {
			_ = s.fr.WriteData(1, false, []byte("!"))
			if r, ok := s.next(t).(*xhttp2.RSTStreamFrame); !ok || r.ErrCode != xhttp2.ErrCodeConnect {
				t.Errorf("got %v, want CONNECT_ERROR", r)
			}
		}, "UC", "upstream_reset_after_response_started{connection_termination}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := httpRig(t, proxy.HTTPSpec{Upgrades: []string{"connect"}}, terminating(cluster(t, nil, shouting(t))))
			s := connect2(t, g)
			s.says(t, "hello")
			c.end(t, s)
			rec := g.records.next(t)
			if rec.flags != c.flags || rec.details != c.details {
				t.Errorf("got %s %s, want %s %s", rec.flags, rec.details, c.flags, c.details)
			}
			if rec.Request.Bytes < 5 || rec.Response.Bytes != 5 {
				t.Errorf("got %d bytes up and %d down, want 5 each", rec.Request.Bytes, rec.Response.Bytes)
			}
			_ = s.conn.Close()
		})
	}
}

// A tunnel has no content, so no length holds for its bytes.
func TestALengthDoesNotBoundATunnelOverHTTP2(t *testing.T) {
	t.Parallel()
	g := httpRig(t, proxy.HTTPSpec{Upgrades: []string{"connect"}}, terminating(cluster(t, nil, shouting(t))))
	s := connect2(t, g, "content-length", "3")
	s.says(t, "hello")
	s.says(t, "again")
}

// A request that says its scheme is believed, whatever x-forwarded-proto tells.
func TestTheSchemeIsTheRequestsOwn(t *testing.T) {
	t.Parallel()
	g := httpRig(t, proxy.HTTPSpec{}, &proxy.Rule{Redirect: &proxy.Redirect{Host: "b"}})
	for raw, want := range map[string]string{
		"GET /x HTTP/1.1\r\nhost: a\r\n\r\n":                                     "http://b/x",
		"GET /x HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\n\r\n":         "https://b/x",
		"GET http://a/x HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\n\r\n": "http://b/x",
	} {
		if got := g.ask(raw).Header.Get("location"); got != want {
			t.Errorf("%q: got %s, want %s", raw, got, want)
		}
	}
}

// shouting echoes until it reads a question mark, and ends its direction then, or an
// exclamation mark, and resets.
func shouting(t *testing.T) string {
	t.Helper()
	return script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		b := make([]byte, 1024)
		for {
			n, err := r.Read(b)
			if bytes.IndexByte(b[:n], '!') >= 0 {
				_ = c.(*net.TCPConn).SetLinger(0)
				return
			}
			asked := bytes.IndexByte(b[:n], '?') >= 0
			if n > 0 && !asked {
				_, _ = c.Write(b[:n])
			}
			if asked {
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, r)
				return
			}
			if err != nil {
				_ = c.(*net.TCPConn).CloseWrite()
				return
			}
		}
	})
}
