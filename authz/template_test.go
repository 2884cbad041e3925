package authz_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/authz"
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	for pattern, paths := range map[string]map[string]bool{
		"/reviews/*":  {"/reviews/7": true, "/reviews/": false, "/reviews": false, "/reviews/7/8": false, "/reviews/7/": false, "/reviews/a%20b": true, "/reviews/a*b": false, "/reviews/ä": false},
		"/public/**":  {"/public/": true, "/public/a": true, "/public/a/b": true, "/public": false, "/publica": false, "/public/a b": false},
		"/*/x/*":      {"/a/x/b": true, "/a/y/b": false, "//x/b": false},
		"/foo/**/":    {"/foo/bar/": true, "/foo/bar/baz.txt": false, "/foo//": true, "/foo/bar": false, "/foo/": false},
		"/a/**/b":     {"/a/x/y/b": true, "/a//b": true, "/a/b": false, "/a/b/b": true},
		"/*/**":       {"/a/": true, "/a/b/c": true, "/a": false, "//": false},
		"/**":         {"/": true, "/a/b": true, "": false},
		"/":           {"/": true, "/a": false, "": false},
		"/a/b/":       {"/a/b/": true, "/a/b": false},
		"/v1.0/(x)+$": {"/v1.0/(x)+$": true, "/v1x0/(x)+$": false},
	} {
		tm, err := authz.NewTemplate(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for path, want := range paths {
			if got := tm.Match(path); got != want {
				t.Errorf("%s on %q: got %v, want %v", pattern, path, got, want)
			}
		}
	}
}

func TestTemplatesThatAreNotIstios(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"", "a", "*", "/a*", "/*a", "/***", "/**/*", "/**/**", "/**x", "//a", "/a//b", "/**//", "/{x}", "/{x=*}", "/a b", "/a?b", "/ä", "/" + strings.Repeat("a", 20<<10)} {
		if _, err := authz.NewTemplate(pattern); err == nil {
			t.Errorf("%.20q was accepted", pattern)
		}
	}
}

// FuzzTemplate compares with the regular expression that Envoy makes of a template.
func FuzzTemplate(f *testing.F) {
	for _, s := range [][2]string{{"/reviews/*", "/reviews/7"}, {"/public/**", "/public/a/b"}, {"/foo/**/", "/foo//"}, {"/*/**/a/b", "/x//a/b"}, {"/a/", "/a/"}} {
		f.Add(s[0], s[1])
	}
	const literal = `[a-zA-Z0-9\-._~%!$&'()+,;:@=`
	f.Fuzz(func(t *testing.T, pattern, path string) {
		tm, err := authz.NewTemplate(pattern)
		if err != nil {
			return
		}
		source := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*\*`, literal+`/]*`)
		source = strings.ReplaceAll(source, `\*`, literal+`]+`)
		source = strings.ReplaceAll(source, literal+`/]*`, "\x00")
		source = strings.ReplaceAll(source, "\x00", literal+`/]*`)
		want := regexp.MustCompile(`\A(?:` + source + `)\z`).MatchString(path)
		if got := tm.Match(path); got != want {
			t.Errorf("%q on %q: got %v, want %v", pattern, path, got, want)
		}
	})
}
