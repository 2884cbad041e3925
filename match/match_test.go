package match_test

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func TestStringMatchesAsEnvoyDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		kind    match.Kind
		pattern string
		fold    bool
		subject string
		want    bool
	}{
		{"exact equal", match.Exact, "abc", false, "abc", true},
		{"exact minds case", match.Exact, "abc", false, "ABC", false},
		{"exact folds", match.Exact, "aBc", true, "AbC", true},
		{"fold is ASCII only", match.Exact, "ä", true, "Ä", false},
		{"prefix", match.Prefix, "/a", false, "/ab", true},
		{"prefix longer than subject", match.Prefix, "/abc", false, "/a", false},
		{"suffix", match.Suffix, ".com", false, "a.com", true},
		{"suffix folds", match.Suffix, ".COM", true, "a.com", true},
		{"contains", match.Contains, "b", false, "abc", true},
		{"contains folds", match.Contains, "B", true, "abc", true},
		{"contains empty", match.Contains, "", true, "abc", true},
		{"regex is a full match", match.Regex, "a|ab", false, "ab", true},
		{"regex does not search", match.Regex, "b", false, "abc", false},
		{"regex dollar is not before newline", match.Regex, "a$", false, "a\n", false},
		{"regex ignores the case flag", match.Regex, "a", true, "A", false},
		{"any", match.Any, "", false, "x", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, err := match.NewString(c.kind, c.pattern, c.fold)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Match(c.subject); got != c.want {
				t.Errorf("match %q against %q: got %v, want %v", c.subject, c.pattern, got, c.want)
			}
		})
	}
}

func TestBadPatternsAreRefused(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"(", "a)(b", "(?=a)", strings.Repeat("a", 1<<17)} {
		if _, err := match.NewString(match.Regex, p, false); err == nil {
			t.Errorf("regex of %d bytes %.10q was accepted", len(p), p)
		}
	}
}

func TestHeaderMatchesAsEnvoyDoes(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	str := func(v string) *match.String {
		m, err := match.NewString(match.Exact, v, false)
		if err != nil {
			t.Fatal(err)
		}
		return &m
	}
	r := &httpmsg.Request{Method: "GET", Path: "/a?b=1", Authority: "Host", Scheme: "http"}
	r.Header.Add("x-one", "1")
	r.Header.Add("x-two", "a")
	r.Header.Add("x-two", "b")
	r.Header.Add("accept", "a")
	r.Header.Add("accept", "b")
	for _, c := range []struct {
		name string
		spec match.HeaderSpec
		want bool
	}{
		{"value", match.HeaderSpec{Name: "X-One", Value: str("1")}, true},
		{"inverted value", match.HeaderSpec{Name: "x-one", Value: str("1"), Invert: true}, false},
		{"one of several values is enough", match.HeaderSpec{Name: "x-two", Value: str("b")}, true},
		{"several values are not joined", match.HeaderSpec{Name: "x-two", Value: str("a,b")}, false},
		{"inverted, no value may match", match.HeaderSpec{Name: "x-two", Value: str("b"), Invert: true}, false},
		{"inverted, and none matches", match.HeaderSpec{Name: "x-two", Value: str("c"), Invert: true}, true},
		{"what Envoy keeps once is joined", match.HeaderSpec{Name: "accept", Value: str("a,b")}, true},
		{"absent never matches a value", match.HeaderSpec{Name: "x-no", Value: str("1")}, false},
		{"absent never matches an inverted value", match.HeaderSpec{Name: "x-no", Value: str("1"), Invert: true}, false},
		{"absent as empty, inverted", match.HeaderSpec{Name: "x-no", Value: str("1"), Invert: true, MissingIsEmpty: true}, true},
		{"no specifier wants presence", match.HeaderSpec{Name: "x-one"}, true},
		{"present", match.HeaderSpec{Name: "x-no", Present: &yes}, false},
		{"present inverted", match.HeaderSpec{Name: "x-no", Present: &yes, Invert: true}, true},
		{"present false", match.HeaderSpec{Name: "x-no", Present: &no}, true},
		{"range", match.HeaderSpec{Name: "x-one", Range: &match.Range{Start: 1, End: 2}}, true},
		{"range is half open", match.HeaderSpec{Name: "x-one", Range: &match.Range{Start: 0, End: 1}}, false},
		{"range of text", match.HeaderSpec{Name: "x-two", Range: &match.Range{Start: 0, End: 9}}, false},
		{"method", match.HeaderSpec{Name: ":method", Value: str("GET")}, true},
		{"path has its query", match.HeaderSpec{Name: ":path", Value: str("/a?b=1")}, true},
		{"host is the authority", match.HeaderSpec{Name: "host", Value: str("Host")}, true},
		{"unknown pseudo header", match.HeaderSpec{Name: ":nope"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := match.NewHeader(c.spec)
			if got := h.Match(r); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestQueryTakesTheFirstValueUndecoded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, name, want string
		ok               bool
	}{
		{"/a?x=1&x=2", "x", "1", true},
		{"/a?x", "x", "", true},
		{"/a?x=%20", "x", "%20", true},
		{"/a", "x", "", false},
		{"/a?y=1#x=2", "x", "", false},
		{"/a?&&x=3", "x", "3", true},
		{"/a?=4", "", "", false},
	} {
		got, ok := match.QueryValue(c.path, c.name)
		if got != c.want || ok != c.ok {
			t.Errorf("QueryValue(%q, %q) = %q, %v; want %q, %v", c.path, c.name, got, ok, c.want, c.ok)
		}
	}
	absent := match.Query{Name: "x", Absent: true}
	if absent.Match("/a?x=1") || !absent.Match("/a") {
		t.Error("an absent matcher has to refuse a parameter that is there")
	}
}
