package route_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
)

// oneByOne asks each entry alone, which no index can speed up.
func oneByOne(hosts []*route.VirtualHost[int], r *httpmsg.Request, random uint64) (int, bool) {
	for _, v := range hosts {
		if got, ok := v.Match(r, random); ok {
			return got, true
		}
	}
	return 0, false
}

// both are the same entries in one virtual host, and each in one of its own.
func both(t testing.TB, matchers []route.Matcher) (*route.VirtualHost[int], []*route.VirtualHost[int]) {
	t.Helper()
	entries := make([]route.Entry[int], len(matchers))
	alone := make([]*route.VirtualHost[int], len(matchers))
	for i, m := range matchers {
		entries[i] = route.Entry[int]{Matcher: m, Value: i}
		v, err := route.NewVirtualHost("alone", entries[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		alone[i] = v
	}
	v, err := route.NewVirtualHost("all", entries)
	if err != nil {
		t.Fatal(err)
	}
	return v, alone
}

// chance makes matchers and paths of few parts, so that they often meet.
type chance struct{ next func(n int) int }

var parts = []string{"/", "a", "b", "/a", "/b", "A", "/A", "aa", "/x-1", "", "ab", "é", "/a/b"}

func (c chance) path() string {
	var b strings.Builder
	b.WriteByte('/')
	for range c.next(4) {
		b.WriteString(parts[c.next(len(parts))])
	}
	return b.String()
}

func (c chance) matcher(t testing.TB) route.Matcher {
	t.Helper()
	m := route.Matcher{Path: route.Path{Value: c.path(), AnyCase: c.next(4) == 0}}
	switch c.next(8) {
	case 0, 1, 2:
		m.Path.Kind = route.PathPrefix
		if c.next(10) == 0 {
			m.Path.Value = m.Path.Value[:c.next(2)]
		}
	case 3, 4:
		m.Path.Kind = route.PathExact
	case 5:
		m.Path.Kind = route.PathSeparated
		m.Path.Value = "/" + strings.Trim(m.Path.Value, "/") + "s"
		m.Path.Value = strings.TrimSuffix(m.Path.Value, "s")
		if m.Path.Value == "/" {
			m.Path.Value = "/a"
		}
	case 6:
		m.Path.Kind, m.Path.AnyCase = route.PathRegex, false
		m.Path.Value = []string{"", "^", "(?i)", "(a|/)"}[c.next(4)] + m.Path.Value + []string{".*", "$", "[ab]+", "?"}[c.next(4)]
	case 7:
		m.Path.Kind, m.Path.AnyCase = route.PathConnect, false
	}
	if c.next(4) == 0 {
		str, err := match.NewString(match.Exact, "v", false)
		if err != nil {
			t.Fatal(err)
		}
		m.Headers = []match.Header{match.NewHeader(match.HeaderSpec{Name: "x-h", Value: &str})}
	}
	if c.next(6) == 0 {
		m.Fraction = &route.Fraction{Numerator: uint64(c.next(100)), Denominator: 100}
	}
	return m
}

func (c chance) request() *httpmsg.Request {
	r := &httpmsg.Request{Method: "GET", Path: c.path()}
	switch c.next(8) {
	case 0:
		r.Path += "?a=/b"
	case 1:
		r.Method = "CONNECT"
	case 2:
		r.Method, r.Path = "CONNECT", ""
	}
	if c.next(2) == 0 {
		r.Header.Add("x-h", "v")
	}
	return r
}

func TestIndexKeepsTheOrderOfTheList(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	c := chance{random.IntN}
	for range 300 {
		matchers := make([]route.Matcher, 8+c.next(40))
		for i := range matchers {
			matchers[i] = c.matcher(t)
		}
		v, alone := both(t, matchers)
		for range 60 {
			r, at := c.request(), random.Uint64()
			got, gotOK := v.Match(r, at)
			want, wantOK := oneByOne(alone, r, at)
			if got != want || gotOK != wantOK {
				t.Fatalf("%s %q: got entry %d (%v), want %d (%v)\n%+v", r.Method, r.Path, got, gotOK, want, wantOK, matchers)
			}
		}
	}
}

func FuzzIndexKeepsTheOrderOfTheList(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), "/a/b")
	f.Add([]byte{0, 1, 0, 3, 9, 5, 2, 2, 7, 1, 1, 6, 0, 0, 3, 4, 4, 1}, "/A")
	f.Add([]byte{}, "/")
	f.Fuzz(func(t *testing.T, seed []byte, path string) {
		c := chance{func(n int) int {
			if len(seed) == 0 {
				return 0
			}
			b := seed[0]
			seed = seed[1:]
			return int(b) % n
		}}
		matchers := make([]route.Matcher, 8+c.next(8))
		for i := range matchers {
			matchers[i] = c.matcher(t)
		}
		v, alone := both(t, matchers)
		r := c.request()
		r.Path = path
		got, gotOK := v.Match(r, 7)
		want, wantOK := oneByOne(alone, r, 7)
		if got != want || gotOK != wantOK {
			t.Fatalf("%s %q: got entry %d (%v), want %d (%v)\n%+v", r.Method, r.Path, got, gotOK, want, wantOK, matchers)
		}
	})
}

// manyRoutes is a virtual host with n routes, the last of which is for r.
func manyRoutes(t testing.TB, n int, kind route.PathKind) (*route.VirtualHost[string], *httpmsg.Request) {
	t.Helper()
	entries := make([]route.Entry[string], n)
	for i := range entries {
		m := path(kind, fmt.Sprintf("/shop/v1/catalogue-%04d", i))
		entries[i] = route.Entry[string]{Matcher: m, Value: "one"}
	}
	entries[n-1].Value = "last"
	tail := map[route.PathKind]string{route.PathPrefix: "/items/7?x=1", route.PathSeparated: "/items/7", route.PathExact: "?x=1"}[kind]
	return host(t, "many", entries...), &httpmsg.Request{Method: "GET", Path: entries[n-1].Matcher.Path.Value + tail}
}

func BenchmarkRoutes(b *testing.B) {
	for name, kind := range map[string]route.PathKind{"prefix": route.PathPrefix, "exact": route.PathExact, "separated": route.PathSeparated} {
		for _, n := range []int{1, 10, 1000} {
			b.Run(fmt.Sprintf("%s/of %d", name, n), func(b *testing.B) {
				v, r := manyRoutes(b, n, kind)
				table, err := route.NewTable([]route.Hosts[string]{{Domains: []string{"shop.example"}, Host: v}})
				if err != nil {
					b.Fatal(err)
				}
				r.Authority = "shop.example:80"
				b.ReportAllocs()
				for b.Loop() {
					if got, _ := table.Match(r, 7); got != "last" {
						b.Fatal(got)
					}
				}
			})
		}
	}
}

// manyHosts is a table of n hosts, with a request for the last of them.
func manyHosts(t testing.TB, n int, form string) (*route.Table[string], *httpmsg.Request) {
	t.Helper()
	hosts := make([]route.Hosts[string], n)
	for i := range hosts {
		e := route.Entry[string]{Matcher: path(route.PathPrefix, "/"), Value: "one"}
		if i == n-1 {
			e.Value = "last"
		}
		hosts[i] = route.Hosts[string]{Domains: []string{fmt.Sprintf(form, i)}, Host: host(t, "h", e)}
	}
	table, err := route.NewTable(hosts)
	if err != nil {
		t.Fatal(err)
	}
	authority := fmt.Sprintf(strings.ReplaceAll(form, "*", "any"), n-1)
	return table, &httpmsg.Request{Method: "GET", Authority: authority + ":80", Path: "/"}
}

const (
	exactForm  = "service-%05d.shop.svc.cluster.local"
	suffixForm = "*.service-%05d.shop.svc.cluster.local"
	prefixForm = "service-%05d.shop.*"
)

func BenchmarkHosts(b *testing.B) {
	for name, form := range map[string]string{"exact": exactForm, "suffix": suffixForm, "prefix": prefixForm} {
		for _, n := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("%s/of %d", name, n), func(b *testing.B) {
				table, r := manyHosts(b, n, form)
				b.ReportAllocs()
				for b.Loop() {
					if got, _ := table.Match(r, 7); got != "last" {
						b.Fatal(got)
					}
				}
			})
		}
	}
}

func TestWildcardsOfManyHosts(t *testing.T) {
	t.Parallel()
	for _, form := range []string{exactForm, suffixForm, prefixForm} {
		table, r := manyHosts(t, 1000, form)
		if got, ok := table.Match(r, 0); !ok || got != "last" {
			t.Errorf("%s: got %q", form, got)
		}
		r.Authority = "x" + r.Authority[3:]
		if got, ok := table.Match(r, 0); ok && form != suffixForm {
			t.Errorf("%s: %s got %q, want none", form, r.Authority, got)
		}
	}
}
