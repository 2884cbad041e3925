package proxy

import (
	"regexp"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func TestPathRewrites(t *testing.T) {
	t.Parallel()
	re := regexp.MustCompile(`^/v(\d)/(.*)$`)
	tests := []struct {
		name, in, want string
		rewrite        PathRewrite
	}{
		{"prefix", "/api/x?q=/api", "/v2/x?q=/api", PathRewrite{Matched: "/api", Prefix: "/v2"}},
		{"prefix is spliced without care", "/api/x", "//x", PathRewrite{Matched: "/api", Prefix: "/"}},
		{"prefix in another case", "/API/x", "/v2/x", PathRewrite{Matched: "/api", Prefix: "/v2"}},
		{"whole", "/a/b/c?d", "/z?d", PathRewrite{Whole: true, Prefix: "/z"}},
		{"regex keeps the query", "/v1/x?v1", "/x/1?v1", PathRewrite{Regex: func(p string) string { return re.ReplaceAllString(p, "/$2/$1") }}},
	}
	for _, tt := range tests {
		if got := tt.rewrite.apply(tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHostRewriteNotesWhatItWas(t *testing.T) {
	t.Parallel()
	r := &httpmsg.Request{Authority: "old", Path: "/"}
	r.Header.Add("x-forwarded-host", "older")
	(&Rewrite{Host: "new", AppendForwardedHost: true}).apply(r, "", true)
	if r.Authority != "new" || r.Header.Value("x-envoy-original-host") != "old" || r.Header.Value("x-forwarded-host") != "older,old" {
		t.Errorf("got %q %v", r.Authority, r.Header)
	}
	(*Rewrite)(nil).apply(r, "cluster's", false)
	if r.Authority != "cluster's" || r.Header.Has("x-envoy-original-path") {
		t.Errorf("got %q %v", r.Authority, r.Header)
	}
}

func TestTheRoutesHostWinsOverTheWeightedClusters(t *testing.T) {
	t.Parallel()
	r := &httpmsg.Request{Authority: "old", Path: "/a"}
	(&Rewrite{Host: "route", Path: &PathRewrite{Matched: "/a", Prefix: "/a"}}).apply(r, "cluster", true)
	if r.Authority != "route" || r.Header.Value("x-envoy-original-host") != "cluster" {
		t.Errorf("got %q %v", r.Authority, r.Header)
	}
	if got := r.Header.Value("x-envoy-original-path"); got != "/a" {
		t.Errorf("original path %q: it is noted where a rewrite is configured, whether or not it changes anything", got)
	}
}

func TestRedirectLocations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, authority, path, want string
		redirect                    Redirect
	}{
		{"https drops the port of http", "a:80", "/p?q", "https://a/p?q", Redirect{HTTPS: true}},
		{"another port stays", "a:8080", "/p", "https://a:8080/p", Redirect{HTTPS: true}},
		{"port is set", "a:8080", "/p", "http://a:9090/p", Redirect{Port: 9090}},
		{"host", "a:8080", "/p", "http://b/p", Redirect{Host: "b"}},
		{"path keeps the query", "a", "/p?q", "http://a/new?q", Redirect{Path: "/new"}},
		{"path brings its query", "a", "/p?q", "http://a/new?own", Redirect{Path: "/new?own", StripQuery: true}},
		{"query is stripped", "a", "/p?q", "http://a/p", Redirect{StripQuery: true}},
		{"slash is added", "a", "/p", "http://a/new", Redirect{Path: "new"}},
		{"prefix rewrite", "a", "/p/x?q", "http://a/z/x?q", Redirect{Rewrite: &PathRewrite{Matched: "/p", Prefix: "/z"}}},
		{"IPv6 host", "[::1]:80", "/", "https://[::1]/", Redirect{Scheme: "https"}},
		{"IPv6 host without port", "[::1]", "/", "https://[::1]/", Redirect{Scheme: "https"}},
	}
	for _, tt := range tests {
		r := &httpmsg.Request{Scheme: "http", Authority: tt.authority, Path: tt.path}
		r.Header.Add("x-forwarded-proto", "http")
		if got := tt.redirect.location(r); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHeaderEditsAreAppliedInEnvoysOrder(t *testing.T) {
	t.Parallel()
	var h httpmsg.Header
	h.Add("a", "1")
	h.Add("b", "1")
	h.Add("g", "1")
	(&HeaderEdits{Remove: []string{"b"}, Set: []HeaderEdit{
		{Name: "a", Value: "2"},
		{Name: "a", Value: "3", Action: OverwriteOrAdd},
		{Name: "c", Value: "4", Action: AddIfAbsent},
		{Name: "a", Value: "5", Action: AddIfAbsent},
		{Name: "d", Value: "6", Action: OverwriteIfExists},
		{Name: "e", Value: ""},
		{Name: "f", Value: "", KeepEmpty: true},
		{Name: "g", Value: "2"},
	}}).apply(nil, &h, map[string]bool{"g": true})
	want := []httpmsg.Field{{Name: "g", Value: "1,2"}, {Name: "a", Value: "3"}, {Name: "a", Value: "2"}, {Name: "c", Value: "4"}, {Name: "f"}}
	if len(h.Fields) != len(want) {
		t.Fatalf("got %v", h.Fields)
	}
	for i := range want {
		if h.Fields[i] != want[i] {
			t.Errorf("field %d: got %v, want %v", i, h.Fields[i], want[i])
		}
	}
}
