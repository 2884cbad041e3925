package proxy

import (
	"bytes"
	"strings"
)

// pathVerdict is what normalisation says of a path.
type pathVerdict uint8

const (
	pathOK       pathVerdict = iota
	pathRefused              // 400
	pathRedirect             // 307 to the normal form
)

// pathClass sorts bytes by what normalisation does with them.
type pathClass uint8

const (
	pathPass      pathClass = iota // stays as it is; stays escaped
	pathUnescape                   // loses its escape
	pathEscape                     // is escaped
	pathAttention                  // '%', '.', '/', '\\'
	pathNever                      // NUL
)

// pathClasses follows Chromium's URL canonicaliser, which Envoy uses: letters,
// digits and "-_~." lose their escapes, other escapes stay and keep their case,
// and what a URL must not hold bare is escaped.
var pathClasses = classifyPath() //nolint:gochecknoglobals // a table

func classifyPath() (t [256]pathClass) {
	for c := range t {
		switch {
		case c == 0:
			t[c] = pathNever
		case c <= ' ' || c >= 0x7f:
			t[c] = pathEscape
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '~':
			t[c] = pathUnescape
		case strings.IndexByte("%./\\", byte(c)) >= 0:
			t[c] = pathAttention
		case strings.IndexByte("\"#<>?^`{|}", byte(c)) >= 0:
			t[c] = pathEscape
		}
	}
	return t
}

// normalize brings a path into the form that routing, policies, logs and the
// upstream all see. The order is Envoy's: the fragment is cut, escaped slashes
// are treated, the path is canonicalised, slashes are merged.
func (s *PathSpec) normalize(path string) (string, pathVerdict) {
	if i := strings.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	if !s.Normalize && !s.MergeSlashes && s.EscapedSlashes == SlashesKeep {
		return path, pathOK
	}
	end := strings.IndexByte(path, '?')
	if end < 0 {
		end = len(path)
	}
	if plainPath(path[:end]) {
		return path, pathOK
	}
	return s.rebuild(path[:end], path[end:])
}

// rebuild is normalize for a path that may change.
func (s *PathSpec) rebuild(part, query string) (string, pathVerdict) {
	verdict := pathOK
	if s.EscapedSlashes != SlashesKeep {
		plain := unescapeSlashes(part)
		if plain != part {
			switch s.EscapedSlashes {
			case SlashesReject:
				return "", pathRefused
			case SlashesUnescapeAndRedirect:
				verdict = pathRedirect
			case SlashesKeep, SlashesUnescapeAndForward:
			}
			part = plain
		}
	}
	if s.Normalize {
		var ok bool
		if part, ok = canonicalPath(part); !ok {
			return "", pathRefused
		}
	}
	if s.MergeSlashes {
		part = mergeSlashes(part)
	}
	return part + query, verdict
}

// plainPath reports that no step would change the path.
func plainPath(p string) bool {
	for i := range len(p) {
		switch pathClasses[p[i]] {
		case pathPass, pathUnescape:
		case pathAttention:
			switch p[i] {
			case '/':
				if i+1 < len(p) && (p[i+1] == '/' || p[i+1] == '.') {
					return false
				}
			case '.':
			default:
				return false
			}
		case pathEscape, pathNever:
			return false
		}
	}
	return true
}

// unescapeSlashes replaces %2F and %5C, in either case.
func unescapeSlashes(p string) string {
	if strings.IndexByte(p, '%') < 0 {
		return p
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			switch {
			case p[i+1] == '2' && p[i+2]|0x20 == 'f':
				b.WriteByte('/')
				i += 2
				continue
			case p[i+1] == '5' && p[i+2]|0x20 == 'c':
				b.WriteByte('\\')
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// mergeSlashes collapses runs of slashes. A path of nothing but slashes becomes
// two of them, as in Envoy, which puts the first and the last one back.
func mergeSlashes(p string) string {
	if !strings.Contains(p, "//") {
		return p
	}
	var b strings.Builder
	if p[0] == '/' {
		b.WriteByte('/')
	}
	first := true
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "" {
			continue
		}
		if !first {
			b.WriteByte('/')
		}
		b.WriteString(segment)
		first = false
	}
	if p[len(p)-1] == '/' {
		b.WriteByte('/')
	}
	return b.String()
}

// canonicalPath resolves dot segments, turns backslashes into slashes and brings
// escapes into their normal form. It fails where the path holds NUL.
func canonicalPath(p string) (string, bool) {
	out := make([]byte, 0, len(p)+8)
	if p == "" || p[0] != '/' && p[0] != '\\' {
		out = append(out, '/')
	}
	for i := 0; i < len(p); {
		if p[i] == '/' || p[i] == '\\' {
			out = append(out, '/')
			i++
			continue
		}
		start := len(out)
		var ok bool
		if out, i, ok = appendSegment(out, p, i); !ok {
			return "", false
		}
		last := i == len(p)
		if !last {
			i++ // the slash, which out gets below or does without
		}
		// What follows a semicolon are parameters: "..;x" is ".." for Envoy and for many
		// an application behind it.
		segment, _, _ := bytes.Cut(out[start:], []byte{';'})
		switch string(segment) {
		case ".":
			out = out[:start]
		case "..":
			out = parent(out[:start])
		default:
			if !last {
				out = append(out, '/')
			}
		}
	}
	return string(out), true
}

// parent cuts the last segment off a path that ends with a slash.
func parent(out []byte) []byte {
	if len(out) <= 1 {
		return out
	}
	i := len(out) - 2
	for i > 0 && out[i] != '/' {
		i--
	}
	return out[:i+1]
}

// appendSegment copies up to the next slash. A percent sign that begins no escape
// stays, unless what follows it turns into the rest of one: it is escaped then, so
// that nobody behind finds an escape that nobody here has seen.
func appendSegment(out []byte, p string, i int) ([]byte, int, bool) {
	bare := -1 // in out: the last percent sign that began no escape
	for ; i < len(p) && p[i] != '/' && p[i] != '\\'; i++ {
		out = escapeBare(out, bare)
		c := p[i]
		if c == '%' {
			v, ok := unhex(p[i+1:])
			switch {
			case !ok:
				bare = len(out)
				out = append(out, '%')
			case v == 0:
				return out, i, false
			case pathClasses[v] == pathUnescape || v == '.':
				out = append(out, v)
				i += 2
			default:
				out = append(out, p[i:i+3]...)
				i += 2
			}
			continue
		}
		switch pathClasses[c] {
		case pathNever:
			return out, i, false
		case pathEscape:
			const hex = "0123456789ABCDEF"
			out = append(out, '%', hex[c>>4], hex[c&15])
		case pathPass, pathUnescape, pathAttention:
			out = append(out, c)
		}
	}
	return escapeBare(out, bare), i, true
}

// escapeBare escapes a bare percent sign that out has just become an escape with.
func escapeBare(out []byte, bare int) []byte {
	if bare < 0 || len(out) != bare+3 {
		return out
	}
	if _, escape := unhex(string(out[bare+1:])); !escape {
		return out
	}
	return append(out[:bare+1], '2', '5', out[bare+1], out[bare+2])
}

// unhex reads two hexadecimal digits.
func unhex(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	hi, ok1 := nibble(s[0])
	lo, ok2 := nibble(s[1])
	return hi<<4 | lo, ok1 && ok2
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	default:
		return 0, false
	}
}
