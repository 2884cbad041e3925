package authz

import (
	"fmt"
	"strings"
)

// Template matches a path segment by segment, in the part of Envoy's URI templates
// that Istio writes: "*" stands for one whole segment and, once, "**" for any rest;
// what follows "**" is literal. "*" and "**" take the characters of RFC 3986's pchar
// without "*" only, as Envoy's do: other characters are not matched by anything.
type Template struct {
	segments []segment
	// rest is set where "**" comes behind the segments; suffix is what ends the path
	// then.
	rest   bool
	suffix string
}

// segment is one literal, with its slash, or one "*".
type segment struct {
	literal string
	any     bool
}

// maxTemplate bounds a template's length.
const maxTemplate = 16 << 10

// NewTemplate compiles a template.
func NewTemplate(pattern string) (*Template, error) {
	if len(pattern) > maxTemplate {
		return nil, fmt.Errorf("%w: path template of more than %d bytes", ErrPolicy, maxTemplate)
	}
	if !strings.HasPrefix(pattern, "/") {
		return nil, fmt.Errorf("%w: path template %q does not begin with a slash", ErrPolicy, pattern)
	}
	t := &Template{}
	for rest := pattern; rest != ""; {
		part := rest[1:]
		if end := strings.IndexByte(part, '/'); end >= 0 {
			part = part[:end]
		}
		rest = rest[1+len(part):]
		switch {
		case part == "*":
			t.segments = append(t.segments, segment{any: true})
		case part == "**":
			t.rest, t.suffix = true, rest
			if strings.Contains(rest, "//") || !spelled(rest, true) {
				return nil, fmt.Errorf("%w: path template %q has more than text behind **", ErrPolicy, pattern)
			}
			return t, nil
		case part == "" && rest != "", !spelled(part, false):
			return nil, fmt.Errorf("%w: path template %q has a segment %q that is neither text nor an operator", ErrPolicy, pattern, part)
		default:
			t.segments = append(t.segments, segment{literal: part})
		}
	}
	return t, nil
}

// Match reports whether a path without query is of the template's form.
func (t *Template) Match(path string) bool {
	for i := range t.segments {
		if path == "" || path[0] != '/' {
			return false
		}
		path = path[1:]
		part := path
		if end := strings.IndexByte(part, '/'); end >= 0 {
			part = part[:end]
		}
		s := &t.segments[i]
		if s.any && (part == "" || !spelled(part, false)) || !s.any && part != s.literal {
			return false
		}
		path = path[len(part):]
	}
	if !t.rest {
		return path == ""
	}
	if path == "" || path[0] != '/' || len(path)-1 < len(t.suffix) || !strings.HasSuffix(path, t.suffix) {
		return false
	}
	return spelled(path[1:len(path)-len(t.suffix)], true)
}

// spelled reports whether a text has only the characters that operators match.
func spelled(text string, slash bool) bool {
	for i := range len(text) {
		if c := text[i]; !plain(c) && (c != '/' || !slash) {
			return false
		}
	}
	return true
}

func plain(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("-._~%!$&'()+,;:@=", c) >= 0
}
