package filter

import (
	"strings"
	"testing"
)

func TestSessionCookiesCountForTheirPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, request string
		want          bool
	}{
		{"", "/x", true},
		{"/", "/x", true},
		{"/foo/", "/foo/bar", true},
		{"/foo/", "/foo", false},
		{"/foo", "/foo", true},
		{"/foo", "/foo/bar", true},
		{"/foo", "/foo?a=b", true},
		{"/foo", "/foobar", false},
		{"/foo", "/bar", false},
	} {
		if got := (&SessionSpec{Name: "c", Path: tt.path}).counts(tt.request); got != tt.want {
			t.Errorf("a cookie for %q at %q: got %v, want %v", tt.path, tt.request, got, tt.want)
		}
	}
}

// FuzzSessionCookie reads what downstreams may make up.
func FuzzSessionCookie(f *testing.F) {
	for _, addr := range []string{"10.0.0.1:80", "[fd00::1]:80", "", strings.Repeat("a", 300)} {
		f.Add(string(addressCookie(addr)))
		f.Add(addr)
	}
	f.Add("\x10\x05\n\x010")
	f.Add("\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, text string) {
		if got := cookieAddress([]byte(text)); len(got) > len(text) {
			t.Errorf("%q became longer: %q", text, got)
		}
		if got := cookieAddress(addressCookie(text)); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
	})
}
