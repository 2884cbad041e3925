package httpmsg_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func TestNamesAreSpelledAsTheyCame(t *testing.T) {
	t.Parallel()
	var s httpmsg.Spelling
	for _, name := range []string{"X-MyHeader", "x-myheader", "lower", "HOST"} {
		s.Learn([]byte(name))
	}
	for in, want := range map[string]string{"x-myheader": "X-MyHeader", "lower": "lower", "host": "HOST", "x-new": "x-new"} {
		if got := string(s.Append(nil, in)); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	s.Proper = true
	s.Forget()
	for in, want := range map[string]string{"x-myheader": "X-Myheader", "content-length": "Content-Length", "x-1a_b": "X-1a_B"} {
		if got := string(s.Append(nil, in)); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	if got := string((*httpmsg.Spelling)(nil).Append(nil, "a-b")); got != "a-b" {
		t.Errorf("got %q", got)
	}
}
