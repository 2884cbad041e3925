package route_test

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
)

func host(t testing.TB, name string, entries ...route.Entry[string]) *route.VirtualHost[string] {
	t.Helper()
	v, err := route.NewVirtualHost(name, entries)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func path(kind route.PathKind, value string) route.Matcher {
	return route.Matcher{Path: route.Path{Kind: kind, Value: value}}
}

func TestHostIsChosenInEnvoysOrder(t *testing.T) {
	t.Parallel()
	all := route.Entry[string]{Matcher: path(route.PathPrefix, "/")}
	named := func(name string, domains ...string) route.Hosts[string] {
		e := all
		e.Value = name
		return route.Hosts[string]{Domains: domains, Host: host(t, name, e)}
	}
	table, err := route.NewTable([]route.Hosts[string]{
		named("any", "*"), named("exact", "a.com", "B.com"), named("suffix", "*.foo.com"),
		named("longer suffix", "*.x.foo.com"), named("dash", "*-bar.com"), named("prefix", "foo.*"), named("v6", "[::1]"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for authority, want := range map[string]string{
		"a.com": "exact", "A.COM": "exact", "b.com:8080": "exact", "www.foo.com": "suffix",
		"y.x.foo.com": "longer suffix", ".foo.com": "any", "foo.com": "prefix", "a-bar.com": "dash",
		"foo.bar": "prefix", "foo.": "any", "foo.foo.com": "suffix", "[::1]:80": "v6", "[::1]": "v6", "": "any", "else": "any",
	} {
		got, ok := table.Match(&httpmsg.Request{Authority: authority, Path: "/"}, 0)
		if !ok || got != want {
			t.Errorf("host %q: got %q, want %q", authority, got, want)
		}
	}
}

func TestNoSecondVirtualHostIsTried(t *testing.T) {
	t.Parallel()
	table, err := route.NewTable([]route.Hosts[string]{
		{Domains: []string{"a.com"}, Host: host(t, "a", route.Entry[string]{Matcher: path(route.PathExact, "/only"), Value: "only"})},
		{Domains: []string{"*"}, Host: host(t, "any", route.Entry[string]{Matcher: path(route.PathPrefix, "/"), Value: "any"})},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := table.Match(&httpmsg.Request{Authority: "a.com", Path: "/other"}, 0); ok {
		t.Errorf("got %q, want no route", got)
	}
}

func TestDuplicateDomainIsRefused(t *testing.T) {
	t.Parallel()
	_, err := route.NewTable([]route.Hosts[string]{
		{Domains: []string{"a.com"}, Host: host(t, "one")}, {Domains: []string{"A.com"}, Host: host(t, "two")},
	})
	if err == nil || !strings.Contains(err.Error(), `"one" and "two"`) {
		t.Errorf("got %v, want an error that names both hosts", err)
	}
}

func TestPathMatchersLookAtThePathAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		m    route.Matcher
		path string
		want bool
	}{
		{"prefix is bytes", path(route.PathPrefix, "/foo"), "/foobar", true},
		{"exact ignores the query", path(route.PathExact, "/foo"), "/foo?x=1", true},
		{"exact ignores the fragment", path(route.PathExact, "/foo"), "/foo#x", true},
		{"exact is whole", path(route.PathExact, "/foo"), "/foo/", false},
		{"regex is a full match", path(route.PathRegex, "/f.*o"), "/foo", true},
		{"regex does not see the query", path(route.PathRegex, "/foo.x"), "/foo?x", false},
		{"separated whole", path(route.PathSeparated, "/foo"), "/foo", true},
		{"separated below", path(route.PathSeparated, "/foo"), "/foo/bar", true},
		{"separated beside", path(route.PathSeparated, "/foo"), "/foobar", false},
		{"any case", route.Matcher{Path: route.Path{Kind: route.PathPrefix, Value: "/Foo", AnyCase: true}}, "/fOO/x", true},
		{"connect wants CONNECT", path(route.PathConnect, ""), "/", false},
		{"prefix of an empty path", path(route.PathPrefix, ""), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := host(t, "h", route.Entry[string]{Matcher: c.m, Value: "x"})
			if _, ok := v.Match(&httpmsg.Request{Method: "GET", Path: c.path}, 0); ok != c.want {
				t.Errorf("got %v, want %v", ok, c.want)
			}
		})
	}
}

func TestFractionAndGRPC(t *testing.T) {
	t.Parallel()
	m := path(route.PathPrefix, "/")
	m.Fraction = &route.Fraction{Numerator: 25, Denominator: 100}
	v := host(t, "h", route.Entry[string]{Matcher: m, Value: "quarter"})
	hits := 0
	for i := range uint64(1000) {
		if _, ok := v.Match(&httpmsg.Request{Path: "/"}, i); ok {
			hits++
		}
	}
	if hits != 250 {
		t.Errorf("got %d of 1000, want 250", hits)
	}
	for ct, want := range map[string]bool{"application/grpc": true, "application/grpc+proto": true, "application/grpc-web": false, "": false} {
		r := &httpmsg.Request{Path: "/"}
		r.Header.Add("content-type", ct)
		if got := route.IsGRPC(r); got != want {
			t.Errorf("IsGRPC(%q) = %v, want %v", ct, got, want)
		}
	}
}

func TestBadRegexNamesItsRoute(t *testing.T) {
	t.Parallel()
	_, err := route.NewVirtualHost("h", []route.Entry[string]{{Matcher: path(route.PathPrefix, "/")}, {Matcher: path(route.PathRegex, "(")}})
	if err == nil || !strings.Contains(err.Error(), "routes[1].match") {
		t.Errorf("got %v, want an error that names routes[1]", err)
	}
}

func BenchmarkMatch(b *testing.B) {
	str, err := match.NewString(match.Exact, "blue", false)
	if err != nil {
		b.Fatal(err)
	}
	m := path(route.PathPrefix, "/api")
	m.Headers = []match.Header{match.NewHeader(match.HeaderSpec{Name: "x-colour", Value: &str})}
	v := host(b, "h", route.Entry[string]{Matcher: m, Value: "api"}, route.Entry[string]{Matcher: path(route.PathPrefix, "/"), Value: "rest"})
	table, err := route.NewTable([]route.Hosts[string]{{Domains: []string{"reviews", "reviews.shop.svc.cluster.local"}, Host: v}})
	if err != nil {
		b.Fatal(err)
	}
	r := &httpmsg.Request{Method: "GET", Authority: "reviews.shop.svc.cluster.local:9080", Path: "/other?x=1"}
	b.ReportAllocs()
	for b.Loop() {
		if got, ok := table.Match(r, 7); !ok || got != "rest" {
			b.Fatal(got)
		}
	}
}
