package http1_test

import (
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// proxiedWith is proxied with options for the upstream's side, too.
func proxiedWith(t *testing.T, o http1.ServerOptions, co http1.ClientOptions, request, sent, response, answered string) {
	t.Helper()
	near, up := msgtest.Pipe(t)
	f := newForwarder(near)
	f.up = http1.NewClientConn(near, co)
	t.Cleanup(func() { _ = f.up.Close() })
	down, _ := serve(t, o, f)
	for i := 0; i < len(request); i += 7 { // in parts, so that names are cut
		send(t, down, request[i:min(len(request), i+7)])
		time.Sleep(time.Millisecond)
	}
	expect(t, up, sent)
	send(t, up, response)
	expect(t, down, answered)
}

func TestNamesAreWrittenAsConfigured(t *testing.T) {
	t.Parallel()
	const (
		request  = "POST / HTTP/1.1\r\nHost: h\r\nX-MyCase: 1\r\nContent-Length: 0\r\n\r\n"
		response = "HTTP/1.1 200 OK\r\nETag: x\r\nCONTENT-LENGTH: 0\r\n\r\n"
	)
	tests := []struct {
		name       string
		down, up   http1.Names
		sent, back string
	}{
		{"lower case", http1.LowerCase, http1.LowerCase, strings.ToLower(request), strings.ToLower(response)},
		{"proper case", http1.ProperCase, http1.ProperCase, "POST / HTTP/1.1\r\nHost: h\r\nX-Mycase: 1\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nEtag: x\r\nContent-Length: 0\r\n\r\n"},
		{"both preserve", http1.PreserveCase, http1.PreserveCase, request, response},
		{"the downstream's side alone", http1.PreserveCase, http1.LowerCase, request, strings.ToLower(response)},
		{"the upstream's side alone", http1.LowerCase, http1.PreserveCase, strings.ToLower(request), response},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent, back := tt.sent, tt.back
			if tt.sent == strings.ToLower(request) {
				sent = "POST / HTTP/1.1" + tt.sent[len("POST / HTTP/1.1"):]
			}
			if tt.back == strings.ToLower(response) {
				back = "HTTP/1.1 200 OK" + tt.back[len("HTTP/1.1 200 OK"):]
			}
			proxiedWith(t, http1.ServerOptions{Names: tt.down}, http1.ClientOptions{Names: tt.up}, request, sent, response, back)
		})
	}
}

func TestALengthBesideChunksIsDroppedWhereAllowed(t *testing.T) {
	t.Parallel()
	proxiedWith(t, http1.ServerOptions{AllowChunkedLength: true}, http1.ClientOptions{AllowChunkedLength: true},
		"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
}

func TestTargetsAreSentInFullWhereAsked(t *testing.T) {
	t.Parallel()
	proxiedWith(t, http1.ServerOptions{}, http1.ClientOptions{FullTarget: true},
		"GET /a?b HTTP/1.1\r\nhost: h:1\r\n\r\n", "GET http://h:1/a?b HTTP/1.1\r\nhost: h:1\r\n\r\n", okResponse, okResponse)
}
