package route

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// PathKind is the way an entry looks at a request's path.
type PathKind uint8

// The path matchers of Envoy's RouteMatch.
const (
	// PathPrefix compares bytes: "/foo" matches "/foobar".
	PathPrefix PathKind = iota
	PathExact
	PathRegex
	// PathSeparated is a prefix that ends at a slash or at the path's end.
	PathSeparated
	// PathConnect matches CONNECT requests only.
	PathConnect
)

// Path is what an entry wants of the path, without query and fragment.
type Path struct {
	Kind    PathKind
	Value   string
	AnyCase bool

	regexp *regexp.Regexp
}

// Fraction matches a share of the requests.
type Fraction struct{ Numerator, Denominator uint64 }

// Matcher is everything that an entry asks of a request.
type Matcher struct {
	Path     Path
	Headers  []match.Header
	Queries  []match.Query
	Fraction *Fraction
	// GRPC wants a gRPC content type.
	GRPC bool
}

// Entry leads from a matcher to a value.
type Entry[T any] struct {
	Matcher Matcher
	Value   T
}

// compile checks the matcher and prepares its pattern.
func (m *Matcher) compile() error {
	p := &m.Path
	switch p.Kind {
	case PathRegex:
		re, err := match.FullRegexp(p.Value)
		if err != nil {
			return fmt.Errorf("path regex: %w", err)
		}
		p.regexp = re
		return nil
	case PathSeparated:
		if strings.HasSuffix(p.Value, "/") || strings.ContainsAny(p.Value, "?#") {
			return fmt.Errorf("path_separated_prefix %q must not end in a slash or hold a query", p.Value)
		}
	case PathPrefix, PathExact, PathConnect:
	}
	if p.AnyCase {
		p.Value = strings.ToLower(p.Value)
	}
	return nil
}

// matches checks the cheap things first; path is the request's path without query.
func (m *Matcher) matches(r *httpmsg.Request, path string, random uint64) bool {
	if !m.Path.matches(r, path) {
		return false
	}
	if f := m.Fraction; f != nil && random%f.Denominator >= f.Numerator {
		return false
	}
	if m.GRPC && !IsGRPC(r) {
		return false
	}
	for i := range m.Headers {
		if !m.Headers[i].Match(r) {
			return false
		}
	}
	for i := range m.Queries {
		if !m.Queries[i].Match(r.Path) {
			return false
		}
	}
	return true
}

func (p *Path) matches(r *httpmsg.Request, path string) bool {
	if p.Kind == PathConnect {
		return r.Method == "CONNECT"
	}
	if path == "" {
		return false
	}
	switch p.Kind {
	case PathPrefix:
		return len(path) >= len(p.Value) && p.equal(path[:len(p.Value)])
	case PathExact:
		return p.equal(path)
	case PathRegex:
		return p.regexp.MatchString(path)
	case PathSeparated:
		n := len(p.Value)
		return len(path) >= n && p.equal(path[:n]) && (len(path) == n || path[n] == '/')
	case PathConnect:
	}
	return false
}

func (p *Path) equal(s string) bool {
	if !p.AnyCase {
		return s == p.Value
	}
	return len(s) == len(p.Value) && equalFold(s, p.Value)
}

// equalFold compares s, folded as ASCII, with a lower-case string of equal length.
func equalFold(s, lower string) bool {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// IsGRPC reports whether a request's content type is gRPC's: application/grpc,
// alone or with a suffix after "+"; not gRPC-Web.
func IsGRPC(r *httpmsg.Request) bool {
	const base = "application/grpc"
	ct, ok := r.Header.Get("content-type")
	if !ok || !strings.HasPrefix(ct, base) {
		return false
	}
	return len(ct) == len(base) || ct[len(base)] == '+'
}
