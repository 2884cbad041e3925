package accesslog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxFormat bounds a format string; formats come from mesh configuration, where
// the longest known ones are a few kilobytes.
const maxFormat = 64 << 10

// token is a piece of a format string: literal text, or an operator.
type token struct {
	literal string
	name    string
	arg     string
	hasArg  bool
	// limit is the number after the colon, or -1.
	limit int
}

// scan cuts a format string into tokens. "%%" stands for a percent sign.
func scan(format string) ([]token, error) {
	if len(format) > maxFormat {
		return nil, fmt.Errorf("format of %d bytes is longer than %d", len(format), maxFormat)
	}
	var tokens []token
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			tokens = append(tokens, token{literal: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(format); {
		switch {
		case format[i] != '%':
			text.WriteByte(format[i])
			i++
		case strings.HasPrefix(format[i:], "%%"):
			text.WriteByte('%')
			i += 2
		default:
			t, n, err := scanOperator(format[i:])
			if err != nil {
				return nil, fmt.Errorf("at position %d: %w", i, err)
			}
			flush()
			tokens = append(tokens, t)
			i += n
		}
	}
	flush()
	return tokens, nil
}

// scanOperator reads %NAME%, %NAME(ARG)% or %NAME(ARG):LIMIT% at the start of s.
// The argument ends at the first parenthesis after which the operator can end, as
// in Envoy's own non-greedy pattern, so it may hold parentheses itself.
func scanOperator(s string) (token, int, error) {
	end := 1
	for end < len(s) && isNameByte(s[end]) {
		end++
	}
	t := token{name: s[1:end], limit: -1}
	if t.name == "" || end == len(s) {
		return token{}, 0, errors.New("no operator follows the percent sign; write %%%% for the sign itself")
	}
	if s[end] != '(' {
		limit, n, ok := scanTail(s[end:])
		if !ok {
			return token{}, 0, fmt.Errorf("operator %s is not closed by a percent sign", t.name)
		}
		t.limit = limit
		return t, end + n, nil
	}
	for i := end + 1; i < len(s); i++ {
		if s[i] != ')' {
			continue
		}
		if limit, n, ok := scanTail(s[i+1:]); ok {
			t.arg, t.hasArg, t.limit = s[end+1:i], true, limit
			return t, i + 1 + n, nil
		}
	}
	return token{}, 0, fmt.Errorf("operator %s has an argument that is not closed", t.name)
}

// scanTail reads the optional limit and the closing percent sign.
func scanTail(s string) (limit, n int, ok bool) {
	limit = -1
	if strings.HasPrefix(s, ":") {
		end := 1
		for end < len(s) && s[end] >= '0' && s[end] <= '9' {
			end++
		}
		v, err := strconv.ParseUint(s[1:end], 10, 31)
		if err != nil {
			return 0, 0, false
		}
		limit, n = int(v), end
	}
	if n < len(s) && s[n] == '%' {
		return limit, n + 1, true
	}
	return 0, 0, false
}

func isNameByte(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}
