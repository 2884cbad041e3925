package accesslog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// timeLayout is a compiled strftime format with Envoy's additions: %f and %1f to
// %9f for fractions of a second, %s for the epoch's seconds, %E3S and %E*S for
// seconds with a fraction, %Ez for a zone with a colon.
type timeLayout []timeStep

type timeStep func(dst []byte, t time.Time) []byte

func (l timeLayout) append(dst []byte, t time.Time) []byte {
	for _, step := range l {
		dst = step(dst, t)
	}
	return dst
}

// layouts are the specifiers that are a layout of package time.
var layouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03",
	'M': "04", 'S': "05", 'p': "PM", 'j': "002", 'a': "Mon", 'A': "Monday",
	'b': "Jan", 'h': "Jan", 'B': "January", 'z': "-0700", 'Z': "MST",
	'T': "15:04:05", 'R': "15:04", 'F': "2006-01-02", 'D': "01/02/06",
	'c': "Mon Jan _2 15:04:05 2006",
}

func parseTimeLayout(format string) (timeLayout, error) {
	if strings.ContainsAny(format, "\n\r") || strings.Contains(format, "%n") {
		return nil, errors.New("a time format must not hold a line break")
	}
	var l timeLayout
	for format != "" {
		text, rest, found := strings.Cut(format, "%")
		if text != "" {
			l = append(l, func(dst []byte, _ time.Time) []byte { return append(dst, text...) })
		}
		if !found {
			break
		}
		step, n, err := timeSpecifier(rest)
		if err != nil {
			return nil, err
		}
		l = append(l, step)
		format = rest[n:]
	}
	return l, nil
}

// timeSpecifier compiles what follows a percent sign and tells its length.
func timeSpecifier(s string) (timeStep, int, error) {
	if s == "" {
		return nil, 0, errors.New("the time format ends in a percent sign")
	}
	if layout, ok := layouts[s[0]]; ok {
		return func(dst []byte, t time.Time) []byte { return t.AppendFormat(dst, layout) }, 1, nil
	}
	switch c := s[0]; {
	case c == '%':
		return func(dst []byte, _ time.Time) []byte { return append(dst, '%') }, 1, nil
	case c == 's':
		return func(dst []byte, t time.Time) []byte { return strconv.AppendInt(dst, t.Unix(), 10) }, 1, nil
	case c == 'f':
		return fraction(9), 1, nil
	case c >= '1' && c <= '9' && len(s) > 1 && s[1] == 'f':
		return fraction(int(c - '0')), 2, nil
	case c == 'E':
		return extendedSpecifier(s)
	default:
		return nil, 0, fmt.Errorf("the time specifier %%%c is not supported", c)
	}
}

// extendedSpecifier compiles %Ez, %E*S, %E3S, %E*f and %E3f.
func extendedSpecifier(s string) (timeStep, int, error) {
	if strings.HasPrefix(s, "Ez") {
		return func(dst []byte, t time.Time) []byte { return t.AppendFormat(dst, "-07:00") }, 2, nil
	}
	if len(s) < 3 || s[1] != '*' && (s[1] < '0' || s[1] > '9') || s[2] != 'S' && s[2] != 'f' {
		return nil, 0, errors.New("the time specifier %E is not followed by z, nS or nf")
	}
	digits := 9
	if s[1] != '*' {
		digits = int(s[1] - '0')
	}
	tail := fraction(digits)
	if s[2] == 'f' {
		return tail, 3, nil
	}
	return func(dst []byte, t time.Time) []byte {
		dst = t.AppendFormat(dst, "05")
		if digits == 0 {
			return dst
		}
		return tail(append(dst, '.'), t)
	}, 3, nil
}

// fraction appends the leading digits, at most nine, of the second's fraction.
func fraction(digits int) timeStep {
	return func(dst []byte, t time.Time) []byte {
		ns, place := t.Nanosecond(), 100_000_000
		for range digits {
			dst = append(dst, byte('0'+ns/place%10))
			place /= 10
		}
		return dst
	}
}
