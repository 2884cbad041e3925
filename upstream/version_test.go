package upstream

import (
	"slices"
	"testing"
)

func TestProtocolsThatAFlowHasOffered(t *testing.T) {
	t.Parallel()
	o := &OpenOptions{ALPN: []string{"one"}, ALPN2: []string{"two"}}
	old := &OpenOptions{ALPN: []string{"one"}, ALPN2: []string{"two"}, ALPN10: []string{"zero"}}
	for _, tt := range []struct {
		name     string
		protocol Protocol
		o        *OpenOptions
		version  Protocol
		want     string
	}{
		{"HTTP/1.1", HTTP1, o, HTTP1, "one"},
		{"HTTP/2", HTTP2, o, HTTP2, "two"},
		{"HTTP/1.0 to HTTP/1.1", HTTP1, old, HTTP1, "one"},
		{"HTTP/1.0 to what the downstream speaks", AsDownstream, old, HTTP1, "zero"},
		{"HTTP/1.1 to what the downstream speaks", AsDownstream, o, HTTP1, "one"},
	} {
		s := &Spec{ALPNOverride: true, HTTP: HTTPOptions{Protocol: tt.protocol}}
		if got := s.override(tt.o, tt.version); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: got %v, want %s", tt.name, got, tt.want)
		}
	}
}
