//go:build !race

package http1

import (
	"bytes"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func TestHeadsAreParsedAndWrittenWithoutAllocation(t *testing.T) {
	p := newRequestParser()
	q := newResponseParser()
	var r httpmsg.Request
	var s httpmsg.Response
	out := make([]byte, 0, 4<<10)
	request, response := []byte(browserRequest), []byte(originResponse)
	tests := []struct {
		name string
		f    func()
	}{
		{"parse request", func() { mustParse(t, p.parse, request, &r) }},
		{"parse response", func() {
			if _, err := q.parse(response, &s, &r); err != nil {
				t.Fatal(err)
			}
		}},
		{"write request", func() { out = (&ClientOptions{}).appendRequest(out[:0], &r) }},
		{"write response", func() {
			w := fieldWriter{length: s.ContentLength}
			out = w.append(appendStatus(out[:0], false, s.Status, ""), &s.Header)
		}},
	}
	for _, tt := range tests {
		tt.f()
		if got := testing.AllocsPerRun(100, tt.f); got != 0 {
			t.Errorf("%s: %v allocations", tt.name, got)
		}
	}
	if !bytes.HasPrefix(out, []byte("HTTP/1.1 200 OK\r\n")) {
		t.Errorf("wrote %q", out)
	}
}
