package proxy

import (
	"strings"
	"testing"
)

func TestPathIsNormalisedAsEnvoyDoes(t *testing.T) {
	t.Parallel()
	normal := PathSpec{Normalize: true}
	merge := PathSpec{Normalize: true, MergeSlashes: true}
	forward := PathSpec{Normalize: true, MergeSlashes: true, EscapedSlashes: SlashesUnescapeAndForward}
	tests := []struct {
		name    string
		spec    PathSpec
		in      string
		want    string
		verdict pathVerdict
	}{
		{"nothing configured", PathSpec{}, "/a/../b//c", "/a/../b//c", pathOK},
		{"a fragment is always cut", PathSpec{}, "/a#b", "/a", pathOK},
		{"plain", normal, "/a/b?x=/../", "/a/b?x=/../", pathOK},
		{"dot", normal, "/a/./b", "/a/b", pathOK},
		{"dots", normal, "/a/../b", "/b", pathOK},
		{"above the root", normal, "/../../b", "/b", pathOK},
		{"trailing dot", normal, "/a/b/.", "/a/b/", pathOK},
		{"trailing dots", normal, "/a/b/..", "/a/", pathOK},
		{"escaped dots", normal, "/a/%2e%2E/b", "/b", pathOK},
		{"half escaped dots", normal, "/a/.%2e/b", "/b", pathOK},
		{"three dots are a name", normal, "/a/.../b", "/a/.../b", pathOK},
		{"backslash", normal, `/a\b`, "/a/b", pathOK},
		{"backslash dots", normal, `/a\..\b`, "/b", pathOK},
		{"unreserved escapes", normal, "/%61%2D%7e%5F", "/a-~_", pathOK},
		{"other escapes stay with their case", normal, "/%2f%2F%5c%3a%41", "/%2f%2F%5c%3aA", pathOK},
		{"broken escape", normal, "/a%zz%4", "/a%zz%4", pathOK},
		{"dots with parameters", normal, "/a/..;/b", "/b", pathOK},
		{"a dot with parameters", normal, "/a/.;/b", "/a/b", pathOK},
		{"dots with named parameters", normal, "/a/..;x=y/b", "/b", pathOK},
		{"dots with parameters before the query", normal, "/a/..;?x", "/?x", pathOK},
		{"escaped dots with parameters", normal, "/a/%2e%2e;/b", "/b", pathOK},
		{"parameters of a name stay", normal, "/a;x/b;y", "/a;x/b;y", pathOK},
		{"escapes nested in a broken one", normal, "/public/%2%65%2%65/admin", "/public/%252e%252e/admin", pathOK},
		{"escapes nested behind a bare sign", normal, "/public/%%32e%%32e/admin", "/public/%252e%252e/admin", pathOK},
		{"a nested slash", normal, "/a/%2%66x", "/a/%252fx", pathOK},
		{"a nested slash, forwarded", forward, "/a/%%32f", "/a/%252f", pathOK},
		{"what must be escaped", normal, `/a"<>^{|}` + "`", "/a%22%3C%3E%5E%7B%7C%7D%60", pathOK},
		{"NUL", normal, "/a%00", "", pathRefused},
		{"slashes stay", normal, "/a//b///c", "/a//b///c", pathOK},
		{"dots behind two slashes", normal, "/a//../b", "/a/b", pathOK},
		{"the query stays", normal, "/a/../b?c=/../d", "/b?c=/../d", pathOK},
		{"merged", merge, "//a///b//", "/a/b/", pathOK},
		{"two slashes stay two", merge, "//", "//", pathOK},
		{"three slashes become two", merge, "///", "//", pathOK},
		{"the query is not merged", merge, "/a//b?c=//d", "/a/b?c=//d", pathOK},
		{"rejected escape", PathSpec{EscapedSlashes: SlashesReject}, "/a%2Fb", "", pathRefused},
		{"escape in the query is none", PathSpec{EscapedSlashes: SlashesReject}, "/a?b=%2F", "/a?b=%2F", pathOK},
		{"forwarded", forward, "/a%2f..%5Cb", "/b", pathOK},
		{"redirected", PathSpec{Normalize: true, EscapedSlashes: SlashesUnescapeAndRedirect}, "/a%2Fb?c", "/a/b?c", pathRedirect},
	}
	for _, tt := range tests {
		if got, verdict := tt.spec.normalize(tt.in); got != tt.want || verdict != tt.verdict {
			t.Errorf("%s: %q: got %q, %d, want %q, %d", tt.name, tt.in, got, verdict, tt.want, tt.verdict)
		}
	}
}

func FuzzNormalizedPathIsStableAndFreeOfDots(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/%2e", `\\..\`, "//..//%2F", "/a%00", "/%", "/a#b?c", "/..;/x", "/%2%65%%32e%", "/%%%32%65"} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, path string, how uint8) {
		if path == "" || path[0] != '/' {
			return
		}
		spec := PathSpec{Normalize: true, MergeSlashes: how&1 != 0, EscapedSlashes: EscapedSlashes(how >> 1 & 3)}
		got, verdict := spec.normalize(path)
		if verdict == pathRefused {
			return
		}
		if got == "" || got[0] != '/' {
			t.Fatalf("%q became %q", path, got)
		}
		part, _, _ := strings.Cut(got, "?")
		for segment := range strings.SplitSeq(part, "/") {
			name, _, _ := strings.Cut(segment, ";")
			if name == "." || name == ".." || strings.ContainsAny(segment, "\\#") {
				t.Fatalf("%q became %q", path, got)
			}
		}
		if strings.Contains(part, "//") && spec.MergeSlashes && part != "//" {
			t.Fatalf("%q became %q", path, got)
		}
		if spec.EscapedSlashes != SlashesKeep {
			return // "%252f" loses one layer at each pass, by definition
		}
		if again, _ := spec.normalize(got); again != got {
			t.Fatalf("%q became %q and then %q", path, got, again)
		}
	})
}

func TestPlainPathIsNotCopied(t *testing.T) {
	spec := PathSpec{Normalize: true, MergeSlashes: true, EscapedSlashes: SlashesUnescapeAndForward}
	path := strings.Repeat("/reviews", 20) + "?a=b//c"
	if n := testing.AllocsPerRun(100, func() { _, _ = spec.normalize(path) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
