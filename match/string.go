package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Kind is the way a String compares.
type Kind uint8

// The kinds of Envoy's StringMatcher.
const (
	Exact Kind = iota
	Prefix
	Suffix
	Contains
	Regex
	// Any matches every string.
	Any
)

// maxPattern bounds a pattern's length: Envoy's default program size limit has no
// equal in Go, the length of the source serves the same end.
const maxPattern = 64 << 10

// ErrPattern is wrapped by every error of this package.
var ErrPattern = errors.New("invalid pattern")

// String is a compiled string matcher. The zero value matches the empty string.
type String struct {
	kind   Kind
	fold   bool
	value  string
	regexp *regexp.Regexp
}

// NewString compiles a matcher. ignoreCase folds ASCII only and has no effect on
// a regular expression, as in Envoy.
func NewString(kind Kind, pattern string, ignoreCase bool) (String, error) {
	if len(pattern) > maxPattern {
		return String{}, fmt.Errorf("%w: longer than %d bytes", ErrPattern, maxPattern)
	}
	if kind == Regex {
		re, err := FullRegexp(pattern)
		return String{kind: kind, value: pattern, regexp: re}, err
	}
	if ignoreCase {
		pattern = lowerASCII(pattern)
	}
	return String{kind: kind, fold: ignoreCase, value: pattern}, nil
}

// FullRegexp compiles an RE2 expression that must match the whole subject.
func FullRegexp(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrPattern, maxPattern)
	}
	if _, err := regexp.Compile(pattern); err != nil { // alone first: "a)(b" must not become valid by wrapping
		return nil, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	return re, nil
}

// LiteralPrefix is what every string begins with that a valid RE2 expression matches as
// a whole; it may be empty.
func LiteralPrefix(pattern string) string {
	re, err := SearchRegexp(pattern)
	if err != nil {
		return ""
	}
	prefix, _ := re.LiteralPrefix()
	if full, err := FullRegexp(pattern); err == nil {
		if other, _ := full.LiteralPrefix(); len(other) > len(prefix) { // where the pattern begins with an anchor
			prefix = other
		}
	}
	return prefix
}

// SearchRegexp compiles an RE2 expression that may match anywhere, for rewrites.
func SearchRegexp(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrPattern, maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	return re, nil
}

// Match reports whether s matches.
func (m *String) Match(s string) bool {
	switch m.kind {
	case Exact:
		return m.equal(s)
	case Prefix:
		return len(s) >= len(m.value) && m.equal(s[:len(m.value)])
	case Suffix:
		return len(s) >= len(m.value) && m.equal(s[len(s)-len(m.value):])
	case Contains:
		return m.contains(s)
	case Regex:
		return m.regexp.MatchString(s)
	case Any:
		return true
	default:
		return false
	}
}

// Kind returns the way of comparing.
func (m *String) Kind() Kind { return m.kind }

// Value returns the pattern, lower case where case is ignored.
func (m *String) Value() string { return m.value }

// FoldsCase reports whether ASCII case is ignored.
func (m *String) FoldsCase() bool { return m.fold }

func (m *String) equal(s string) bool {
	if !m.fold {
		return s == m.value
	}
	if len(s) != len(m.value) {
		return false
	}
	for i := range len(s) {
		if lowerByte(s[i]) != m.value[i] {
			return false
		}
	}
	return true
}

func (m *String) contains(s string) bool {
	if !m.fold {
		return strings.Contains(s, m.value)
	}
	for i := 0; i+len(m.value) <= len(s); i++ {
		if m.equal(s[i : i+len(m.value)]) {
			return true
		}
	}
	return false
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] != lowerByte(s[i]) {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lowerByte(b[j])
			}
			return string(b)
		}
	}
	return s
}
