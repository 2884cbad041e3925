package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// oddResponse is what a scripted upstream of HTTP/2 answers, and what whoever asked
// gets: h2spec's cases for clients end before the messages of RFC 9113 section 8
// and the decoding of header blocks.
type oddResponse struct {
	name string
	run  func(p *peer, stream uint32)

	// want is what arrives, as Envoy 1.40 has it: the status, the body, and "cut"
	// where the response is not whole.
	want string
	also string // as good, and ours
}

const (
	endHeaders = http2.FlagHeadersEndHeaders
	endBoth    = http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream
)

// oddResponses lists them.
func oddResponses() []oddResponse {
	head := func(flags http2.Flags, pairs ...string) func(*peer, uint32) {
		return func(p *peer, stream uint32) { p.frame(http2.FrameHeaders, flags, stream, p.fields(pairs...)) }
	}
	block := func(b string) func(*peer, uint32) {
		return func(p *peer, stream uint32) { p.frame(http2.FrameHeaders, endBoth, stream, append([]byte{0x88}, b...)) } // :status 200 first
	}
	data := func(flags http2.Flags, text string) func(*peer, uint32) {
		return func(p *peer, stream uint32) { p.frame(http2.FrameData, flags, stream, []byte(text)) }
	}
	all := func(parts ...func(*peer, uint32)) func(*peer, uint32) {
		return func(p *peer, stream uint32) {
			for _, f := range parts {
				f(p, stream)
			}
		}
	}
	const end = http2.FlagDataEndStream
	return []oddResponse{
		{name: "a good one", run: all(head(endHeaders, ":status", "200"), data(end, "hello")), want: "200 hello"},
		{name: "a good one with trailers", run: all(head(endHeaders, ":status", "200"), data(0, "hello"), head(endBoth, "x-sum", "1")), want: "200 hello"},
		{name: "no status", run: head(endBoth, "x", "y"), want: "502"},
		{name: "two statuses", run: head(endBoth, ":status", "200", ":status", "200"), want: "502"},
		{name: "status of two digits", run: head(endBoth, ":status", "20"), want: "502"},
		{name: "status that is no number", run: head(endBoth, ":status", "2xx"), want: "502"},
		{name: "status with a sign", run: head(endBoth, ":status", "+20"), want: "502"},
		{name: "status 101", run: head(endBoth, ":status", "101"), want: "502"},
		{name: "a pseudo field of requests", run: head(endBoth, ":status", "200", ":path", "/"), want: "502"},
		{name: "an unknown pseudo field", run: head(endBoth, ":status", "200", ":x", "y"), want: "502"},
		{name: "status after an ordinary field", run: head(endBoth, "x", "y", ":status", "200"), want: "502"},
		{name: "a pseudo field in trailers", run: all(head(endHeaders, ":status", "200"), data(0, "hello"), head(endBoth, ":status", "200")), want: "200 hello cut"},
		{name: "trailers that do not end the stream", run: all(head(endHeaders, ":status", "200"), data(0, "hello"), head(endHeaders, "x", "y")), want: "200 hello cut"},
		{name: "upper case in a name", run: block("\x00\x01X\x01y"), want: "502"},
		{name: "blank in a name", run: block("\x00\x03x y\x01z"), want: "502"},
		{name: "line end in a value", run: block("\x00\x01x\x06a\r\nb: "), want: "502"},
		{name: "NUL in a value", run: block("\x00\x01x\x03a\x00b"), want: "502"},
		{name: "an empty name", run: block("\x00\x00\x01y"), want: "502"},
		{name: "connection", run: head(endBoth, ":status", "200", "connection", "close"), want: "502"},
		{name: "transfer-encoding", run: head(endBoth, ":status", "200", "transfer-encoding", "chunked"), want: "502"},
		{name: "keep-alive", run: head(endBoth, ":status", "200", "keep-alive", "1"), want: "502"},
		{name: "content-length too large", run: all(head(endHeaders, ":status", "200", "content-length", "9"), data(end, "hello")), want: "200 cut", also: "200 hello cut"},
		{name: "content-length too small", run: all(head(endHeaders, ":status", "200", "content-length", "3"), data(end, "hello")), want: "200 cut"},
		{name: "content-length without a body", run: head(endBoth, ":status", "200", "content-length", "3"), want: "502"},
		{name: "content-length that is no number", run: all(head(endHeaders, ":status", "200", "content-length", "x"), data(end, "hello")), want: "502"},
		{name: "two different content-lengths", run: all(head(endHeaders, ":status", "200", "content-length", "5", "content-length", "6"), data(end, "hello")), want: "502"},
		{name: "204 with a body", run: all(head(endHeaders, ":status", "204"), data(end, "hello")), want: "204"},
		{name: "304 with content-length", run: head(endBoth, ":status", "304", "content-length", "5"), want: "304"},
		{name: "DATA before the head", run: data(end, "hello"), want: "502"},
		{name: "103, then a good one", run: all(head(endHeaders, ":status", "103"), head(endHeaders, ":status", "200"), data(end, "hello")), want: "200 hello"},
		{name: "103 that ends the stream", run: head(endBoth, ":status", "103"), want: "502"},
		{name: "DATA after 103", run: all(head(endHeaders, ":status", "103"), data(end, "hello")), want: "502"},
		{name: "DATA after the end", run: all(head(endBoth, ":status", "200"), data(end, "hello")), want: "200"},
		{name: "more padding than frame", run: all(head(endHeaders, ":status", "200"), func(p *peer, stream uint32) {
			p.frame(http2.FrameData, http2.FlagDataPadded|end, stream, []byte{9, 'x'})
		}), want: "200 cut"},
		{name: "padding", run: all(head(endHeaders, ":status", "200"), func(p *peer, stream uint32) {
			p.frame(http2.FrameData, http2.FlagDataPadded|end, stream, []byte("\x03hello\x00\x00\x00"))
		}), want: "200 hello"},
		{name: "index 0", run: block("\x80"), want: "502"},
		{name: "index beyond the tables", run: block("\xff\x20"), want: "502"},
		{name: "name index beyond the tables", run: block("\x7f\x07\x00"), want: "502"},
		{name: "a length without end", run: block("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), want: "502"},
		{name: "a string longer than the block", run: block("\x00\x01x\x7f"), want: "502"},
		{name: "EOS in a Huffman code", run: block("\x00\x01x\x84\xff\xff\xff\xff"), want: "502"},
		{name: "table size after a field", run: block("\x20"), want: "502", also: "200"},
		{name: "table size above the limit", run: func(p *peer, stream uint32) {
			p.frame(http2.FrameHeaders, endBoth, stream, []byte("\x3f\xff\xff\xff\x07\x88"))
		}, want: "502"},
		{name: "reset with NO_ERROR after the whole response", run: all(head(endHeaders, ":status", "200"), data(end, "hello"), func(p *peer, stream uint32) {
			p.number(http2.FrameRSTStream, stream, 0)
		}), want: "200 hello"},
		{name: "reset after the head", run: all(head(endHeaders, ":status", "200"), func(p *peer, stream uint32) {
			p.number(http2.FrameRSTStream, stream, uint32(http2.ErrCodeInternal))
		}), want: "200 cut"},
		{name: "GOAWAY that covers the stream, then a good one", run: all(func(p *peer, stream uint32) {
			p.frame(http2.FrameGoAway, 0, 0, []byte{0, 0, 0, byte(stream), 0, 0, 0, 0})
		}, head(endHeaders, ":status", "200"), data(end, "hello")), want: "200 hello"},
		{name: "200 fields", run: func(p *peer, stream uint32) {
			p.frame(http2.FrameHeaders, endBoth, stream, append([]byte{0x88}, strings.Repeat("\x00\x01x\x01y", 200)...))
		}, want: "503"},
	}
}

func TestMeshOddResponses(t *testing.T) {
	mesh := hall(t)
	caller := mesh.Pod("caller")
	outside := mesh.PlainPod("outside")
	list := oddResponses()
	if err := mesh.Apply("odd.yaml", outsideService("odd", "10.96.3.7", outside, firstOdd, len(list))); err != nil {
		t.Fatal(err)
	}
	knows(t, caller, "odd", firstOdd+len(list)-1)
	for i, r := range list {
		t.Run(r.name, func(t *testing.T) {
			l, err := outside.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", firstOdd+i))
			if err != nil {
				t.Fatal(err)
			}
			wait := r.serve(t.Context(), l)
			defer wait()
			defer l.Close()
			if got := outcome(t.Context(), caller.HTTPClient(), fmt.Sprintf("http://odd:%d/", firstOdd+i), nil); got != r.want && got != r.also {
				t.Errorf("got %q, want %q", got, r.want)
			}
		})
	}
	t.Run("the sidecar is well", func(t *testing.T) {
		if r := caller.Admin("/ready"); r.Status != http.StatusOK {
			t.Errorf("got %v", r)
		}
	})
}

// firstOdd is the port of the first of them.
const firstOdd = 32000

// serve answers the first request of every connection until the listener is
// closed.
func (r *oddResponse) serve(ctx context.Context, l net.Listener) (wait func()) {
	once := trap{run: func(p *peer, stream uint32) error {
		r.run(p, stream)
		return p.flush()
	}}
	return once.lay(ctx, l, func(*peer, error) {})
}

// outcome asks and tells what came: the status, the body if it is short, and "cut".
func outcome(ctx context.Context, client *http.Client, url string, header http.Header) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return "error"
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	text := strconv.Itoa(resp.StatusCode)
	if len(body) > 0 && resp.StatusCode == http.StatusOK {
		text += " " + string(body)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		text += " hangs"
	} else if err != nil {
		text += " cut"
	}
	return text
}
