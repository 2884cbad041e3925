package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// FuzzRequestHead holds what is accepted against net/http, both as it came and as it
// would be forwarded.
func FuzzRequestHead(f *testing.F) {
	for _, seed := range []string{
		browserRequest,
		"GET / HTTP/1.1\r\nHost: h\r\na: b\r\n c\r\n\r\n",
		"POST http://u/p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: x, close\r\nx: y\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade, te\r\nUpgrade: h2c, WebSocket\r\nTE: trailers\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
		"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
		"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\na:\x00b\r\nc\r: d\r\n\r\n",
		"GET / HTTP/1.1\nHost: h\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := newRequestParser()
		p.acceptHTTP10 = true
		var r httpmsg.Request
		b := bytes.Clone(raw)
		n, err := p.parse(b, &r)
		if err != nil {
			checkPrefixes(t, raw, err)
			return
		}
		if n > len(raw) {
			t.Fatalf("parsed %d of %d bytes", n, len(raw))
		}
		compareRequest(t, "as it came", raw[:n], &r, p)
		sent := (&ClientOptions{}).appendRequest(nil, &r)
		if !writable(&r) {
			t.Fatalf("cannot write %q", raw)
		}
		q := newRequestParser()
		var again httpmsg.Request
		if m, err := q.parse(bytes.Clone(sent), &again); p.http10 && r.Authority == "" {
			return
		} else if err != nil || m != len(sent) {
			t.Fatalf("%q is sent on as %q, of which %d bytes are read: %v", raw, sent, m, err)
		}
		if again.Method != r.Method || again.Path != r.Path || again.Authority != r.Authority || again.ContentLength != r.ContentLength {
			t.Fatalf("%q is sent on as %q", raw, sent)
		}
		compareRequest(t, "as sent on", sent, &again, q)
	})
}

// checkPrefixes makes sure that a verdict does not depend on how the bytes come.
func checkPrefixes(t *testing.T, raw []byte, want error) {
	t.Helper()
	p := newRequestParser()
	p.acceptHTTP10 = true
	var r httpmsg.Request
	b := bytes.Clone(raw)
	for _, n := range []int{len(raw) / 4, len(raw) / 2, len(raw)} {
		_, err := p.parse(b[:n], &r)
		if err == nil {
			t.Fatalf("%q is refused with %v, its first %d bytes are not", raw, want, n)
		}
		if !errors.Is(err, errIncomplete) {
			return
		}
	}
	if !errors.Is(want, errIncomplete) {
		t.Fatalf("%q is refused with %v only if it comes at once", raw, want)
	}
}

func compareRequest(t *testing.T, how string, raw []byte, r *httpmsg.Request, p *requestParser) {
	t.Helper()
	std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(bytes.Clone(raw), "0\r\n\r\n"...))))
	if err != nil {
		return // net/http is stricter in places
	}
	if std.Method != r.Method || r.Method != "CONNECT" && !strings.HasSuffix(std.RequestURI, strings.TrimPrefix(r.Path, "/")) {
		t.Fatalf("%s, %q: %s %s, but net/http has %s %s", how, raw, r.Method, r.Path, std.Method, std.RequestURI)
	}
	if r.Method != "CONNECT" && strings.TrimSpace(std.Host) != r.Authority {
		t.Fatalf("%s, %q: authority %q, but net/http has %q", how, raw, r.Authority, std.Host)
	}
	if std.ContentLength != r.ContentLength || (p.framing == framingChunked) != (len(std.TransferEncoding) > 0) {
		t.Fatalf("%s, %q: length %d, but net/http has %d %v", how, raw, r.ContentLength, std.ContentLength, std.TransferEncoding)
	}
	compareFields(t, how, raw, &r.Header, std.Header)
}

func compareFields(t *testing.T, how string, raw []byte, h *httpmsg.Header, std http.Header) {
	t.Helper()
	got := map[string][]string{}
	for _, f := range h.Fields {
		got[f.Name] = append(got[f.Name], strings.Join(strings.Fields(f.Value), " "))
	}
	for name, values := range got {
		if name == "te" || name == "expect" || name == "content-length" || name == "trailer" {
			continue
		}
		want := slices.Clone(std[textproto.CanonicalMIMEHeaderKey(name)])
		for i := range want {
			want[i] = strings.Join(strings.Fields(want[i]), " ")
		}
		if !slices.Equal(values, want) {
			t.Fatalf("%s, %q: %s is %q, but net/http has %q", how, raw, name, values, want)
		}
	}
}

// FuzzResponseHead holds what is accepted against net/http.
func FuzzResponseHead(f *testing.F) {
	for _, seed := range []string{
		originResponse,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 204\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\na: b\r\n\tc\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, head bool) {
		req := &httpmsg.Request{Method: "GET"}
		if head {
			req.Method = "HEAD"
		}
		p := newResponseParser()
		var r httpmsg.Response
		n, err := p.parse(bytes.Clone(raw), &r, req)
		if err != nil {
			return
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw[:n])), &http.Request{Method: req.Method})
		if err != nil {
			return
		}
		if std.StatusCode != r.Status {
			t.Fatalf("%q: status %d, but net/http has %d", raw, r.Status, std.StatusCode)
		}
		if p.framing == framingLength && std.ContentLength != r.ContentLength ||
			(p.framing == framingChunked) != (len(std.TransferEncoding) > 0 && !head && r.Status != 204 && r.Status != 304 && r.Status >= 200) {
			t.Fatalf("%q: framing %d length %d, but net/http has %d %v", raw, p.framing, r.ContentLength, std.ContentLength, std.TransferEncoding)
		}
		compareFields(t, "response", raw, &r.Header, std.Header)
	})
}

// FuzzChunkedBody holds what is accepted against net/http, and the way the bytes
// arrive against the outcome.
func FuzzChunkedBody(f *testing.F) {
	for _, seed := range []string{
		"3\r\nabc\r\n0\r\n\r\n", "3;x=y\r\nabc\r\n0\r\na: b\r\n\r\n", "A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\nrest",
		"0x1\r\na\r\n0\r\n\r\n", "ffffffffffffffff\r\n", "1\na\n0\n\n", "1;\rx\r\na\r\n0\r\n\r\n", "0\r\nx y\r\n\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		whole, left, err := decodeChunks(raw, len(raw)+1)
		pieces, leftToo, err2 := decodeChunks(raw, int(step)+1)
		if !bytes.Equal(whole, pieces) || (err == nil) != (err2 == nil) || err == nil && left != leftToo {
			t.Fatalf("%q: at once %q %v, in pieces %q %v", raw, whole, err, pieces, err2)
		}
		if err != nil {
			return
		}
		std, err := http.ReadRequest(bufio.NewReader(io.MultiReader(
			strings.NewReader("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(raw))))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(std.Body)
		if err != nil {
			if strings.Contains(err.Error(), "chunked") || errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%q: read as %q, but net/http has %q, %v", raw, whole, want, err)
			}
			return
		}
		if !bytes.Equal(whole, want) {
			t.Fatalf("%q: read as %q, but net/http has %q", raw, whole, want)
		}
	})
}

// decodeChunks decodes bytes that come in pieces of step, and returns how many are
// left behind the body.
func decodeChunks(raw []byte, step int) ([]byte, int, error) {
	rd := &reader{}
	rd.init(&pieces{raw: raw, step: step})
	defer rd.free()
	var d decoder
	d.start(rd, framingChunked, -1, limits{DefaultMaxHeadBytes, DefaultMaxHeaders})
	var out []byte
	b := make([]byte, 7)
	for {
		n, err := d.read(b)
		out = append(out, b[:n]...)
		if errors.Is(err, io.EOF) {
			return out, rd.avail() + len(rd.conn.(*pieces).raw), nil
		}
		if err != nil {
			return out, 0, err
		}
	}
}

// pieces is a connection that hands out bytes step by step.
type pieces struct {
	net.Conn
	raw  []byte
	step int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.raw) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.step)], p.raw)
	p.raw = p.raw[n:]
	return n, nil
}
