package proxy

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestFirstBytesTellTheProtocol(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want string // "more", "" for not HTTP, or the protocol
	}{
		{"", "more"},
		{"GET / HTTP/1.1\r\n", "http/1.1"},
		{"GET / HTTP/1.1\n", "http/1.1"},
		{"GET / HTTP/1.0\r\n", "http/1.0"},
		{"GET / HTTP/1.7\r\n", "http/1.0"},
		{"M-SEARCH * HTTP/1.1\r\nHost: x", "http/1.1"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c"},
		{"PRI * HTTP/2", "h2c"},
		{"PRI * HTT", "more"},
		{"GET / HTTP/1.1", "more"},
		{"GET", "more"},
		{"GET / HTTP/2.0\r\n", ""},
		{"GET /\r\n", ""},
		{"\r\nGET / HTTP/1.1\r\n", ""},
		{"\x00\x01", ""},
		{"*1\r\n$4\r\nPING\r\n", ""},
		{"AUTHENTICATE-WITH-A-VERY-LONG-WORD-INDEED", "more"},
		{strings.Repeat("A", 1025), ""},
		{"GET\t/\tHTTP/1.1\r\n", "http/1.1"},
		{strings.Repeat("G", 300) + " / HTTP/1.1\r\n", "http/1.1"},
		{"EHLO mail\r\n", ""},
		{"GET /\x01 HTTP/1.1\r\n", "http/1.1"},
		{"GET /\x00 HTTP/1.1\r\n", ""},
		{"GET / HTTP/1.1 \r\n", "http/1.1"},
	}
	for _, tt := range tests {
		alpn, err := sniffHTTP([]byte(tt.in))
		got := ""
		switch {
		case errors.Is(err, errMore):
			got = "more"
		case len(alpn) > 0:
			got = alpn[0]
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// A verdict must not depend on how the bytes were cut.
func FuzzSniffVerdictIsTheSameByteByByte(f *testing.F) {
	for _, s := range []string{"GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x16\x03", "x", "HTTP/1.1 200 OK\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		fresh := func() *sniffer {
			s := &sniffer{in: &Inspect{}, tls: true, http: true}
			s.found.Transport = TransportRaw
			return s
		}
		whole, step := fresh(), fresh()
		wholeErr := whole.inspect(b)
		var stepErr error
		for i := 1; i <= len(b); i++ {
			if stepErr = step.inspect(b[:i]); !errors.Is(stepErr, errMore) {
				break
			}
		}
		if !errors.Is(stepErr, wholeErr) && !errors.Is(wholeErr, stepErr) {
			t.Fatalf("%q: whole %v, byte by byte %v", b, wholeErr, stepErr)
		}
		if whole.found.Transport != step.found.Transport || whole.found.ServerName != step.found.ServerName ||
			len(whole.found.ALPN) != len(step.found.ALPN) {
			t.Fatalf("%q: whole %+v, byte by byte %+v", b, whole.found, step.found)
		}
	})
}

func TestNewRequestIDsAreRandomUUIDs(t *testing.T) {
	t.Parallel()
	x := newExchange()
	a := bytes.Clone([]byte(x.newRequestID()))
	if b := x.newRequestID(); b == string(a) || len(b) != 36 || b[14] != '4' || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		t.Errorf("got %s and %s", a, b)
	}
}
