package http1_test

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// TestSmuggledRequestsReachNobody sends what other parsers read as two requests, or
// as one with another body, and records what an origin gets.
func TestSmuggledRequestsReachNobody(t *testing.T) {
	const inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	chunked := "Transfer-Encoding: chunked\r\n"
	length := "Content-Length: 6\r\n"
	tests := map[string]string{
		"CL.TE":                      length + chunked + "\r\n0\r\n\r\n" + inner,
		"TE.CL":                      chunked + length + "\r\n0\r\n\r\n" + inner,
		"TE.TE second wins":          chunked + "Transfer-Encoding: cow\r\n\r\n0\r\n\r\n" + inner,
		"TE.TE first wins":           "Transfer-Encoding: cow\r\n" + chunked + "\r\n0\r\n\r\n" + inner,
		"TE with space before colon": length + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
		"TE on a line of its own":    length + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + inner,
		"TE behind a bare CR":        length + "a: b\r" + chunked + "\r\n0\r\n\r\n" + inner,
		"TE behind a bare LF":        length + "a: b\n" + chunked + "\r\n0\r\n\r\n" + inner,
		"TE behind NUL":              length + "a: b\x00" + chunked + "\r\n0\r\n\r\n" + inner,
		"TE in quotes":               "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + inner,
		"TE with a comma":            "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n" + inner,
		"TE with a parameter":        "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n" + inner,
		"TE with a long s":           "Transfer-Encoding: chunKed\xe2\x84\xaa\r\n\r\n0\r\n\r\n" + inner,
		"CL.CL":                      length + "Content-Length: 0\r\n\r\n" + inner,
		"CL with a sign":             "Content-Length: +0\r\n\r\n" + inner,
		"CL with an underscore":      "Content-Length: 0_0\r\n\r\n" + inner,
		"CL with a space inside":     "Content-Length: 0 0\r\n\r\n" + inner,
		"CL with a name before":      " Content-Length: 6\r\n" + chunked + length + "\r\n0\r\n\r\n" + inner,
		"CL with a NUL name":         "Content\x00-Length: 6\r\n\r\n" + inner,
		"CL negative":                "Content-Length: -0\r\n\r\n" + inner,
		"connection nominates ten":   "Connection: a,b,c,d,e,f,g,h,i,content-length\r\n" + length + "\r\n" + inner,
		"head ends in LF CR LF":      "a: b\n\r\n" + inner,
		"head ends in CR CR LF":      "a: b\r\r\n\r\n" + inner,
	}
	for name, tail := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, up := msgtest.Pipe(t)
			f := newForwarder(near)
			down, done := serve(t, http1.ServerOptions{}, f)
			send(t, down, "POST / HTTP/1.1\r\nHost: h\r\n"+tail)
			_ = down.CloseWrite()
			<-done
			_ = f.up.Close()
			if got := all(t, up); got != "" {
				t.Errorf("the upstream got %q", got)
			}
		})
	}
}

func TestFoldedFieldIsOneField(t *testing.T) {
	t.Parallel()
	down, up := proxied(t, http1.ServerOptions{})
	send(t, down, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\na: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG")
	expect(t, up, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\na: b Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG")
}

func TestHTTP10KnowsNoChunks(t *testing.T) {
	t.Parallel()
	down, _ := serve(t, http1.ServerOptions{AcceptHTTP10: true}, answerOK)
	send(t, down, "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	_ = down.CloseWrite()
	if got := all(t, down); !strings.HasPrefix(got, "HTTP/1.0 400 Bad Request\r\n") {
		t.Errorf("got %q", got)
	}
}
