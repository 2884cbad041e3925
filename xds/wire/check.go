package wire

import (
	"hash/maphash"
	"math"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

const (
	// maxProblems bounds what is reported of one resource.
	maxProblems = 8
	// maxRegex bounds the length of a regular expression.
	maxRegex = 16 << 10
	// maxRegexes bounds the memory of regular expressions known to be valid.
	maxRegexes = 4096
	// maxQuoted bounds text from a resource within an error.
	maxQuoted = 200
)

// Problem is one thing that is wrong with a resource.
type Problem struct {
	Path string // field path from the resource; empty for the resource itself
	Text string
}

func (p *Problem) Error() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// problems are all that is wrong with one resource.
type problems []Problem

func (ps problems) Error() string {
	var b strings.Builder
	for i := range ps {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(ps[i].Error())
	}
	return b.String()
}

// Unwrap gives the single problems.
func (ps problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i := range ps {
		errs[i] = &ps[i]
	}
	return errs
}

func (w *Walker) err() error {
	if len(w.problems) == 0 {
		return nil
	}
	return problems(slices.Clone(w.problems))
}

// report turns a structural error at the current path into a problem.
func (w *Walker) report(err error) { w.problem(w.depth, err.Error()) }

// problem notes what is wrong with the field at a depth.
func (w *Walker) problem(depth int, text string) {
	if len(w.problems) < maxProblems {
		w.problems = append(w.problems, Problem{Path: w.path(depth), Text: text})
	}
}

// path spells the field path down to a depth.
func (w *Walker) path(depth int) string {
	var b strings.Builder
	entry := false // the step above is a map: key and value have no name of their own
	for i := 0; i <= depth; i++ {
		st := w.steps[i]
		if st.field < 0 {
			continue
		}
		if !entry {
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(fieldName(int(st.field)))
		}
		if entry = shape.Fields[st.field].Form == shape.Map; entry || shape.Fields[st.field].Form == shape.List {
			b.WriteString("[" + strconv.Itoa(int(st.index)) + "]")
		}
	}
	return b.String()
}

func bounded(b []byte) string {
	if len(b) > maxQuoted {
		b = b[:maxQuoted]
	}
	return strings.ToValidUTF8(string(b), "?")
}

// missing reports the needed fields of m that did not come.
func (w *Walker) missing(m *shape.Message, slots uint64) {
	for i := int(m.First); i < int(m.First)+int(m.Count) && slots != 0; i++ {
		if s := shape.Fields[i].Slot; s != shape.NoSlot && s < 64 && slots>>s&1 != 0 {
			slots &^= 1 << s
			w.steps[w.depth] = step{field: int32(i), index: -1}
			if shape.Fields[i].Form != shape.Single {
				w.steps[w.depth].index = 0
			}
			w.problem(w.depth, "must be set")
		}
	}
}

// before runs the checks of a whole message; skip means that its content is of no interest.
func (w *Walker) before(m *shape.Message, b []byte) {
	if m.Check&shape.Holder != 0 {
		w.hold(m, b)
	}
	if w.quiet > 0 {
		return
	}
	switch {
	case m.Check&shape.Routes != 0:
		w.uniqueDomains(b)
	case m.Check&shape.Weights != 0:
		w.positiveWeights(b)
	case m.Check&shape.SDS != 0:
		w.refer(SDS, b, 1, 2)
	case m.Check&shape.RDS != 0:
		w.refer(RDS, b, 2, 1)
	}
}

// number checks a scalar.
func (w *Walker) number(r *shape.Rule, v uint64) {
	if r.SkipIf && v == 0 {
		return
	}
	switch r.Kind {
	case shape.Unsigned:
		if v < r.Lo || v > r.Hi {
			w.problem(w.depth, strconv.FormatUint(v, 10)+" is out of range")
		}
	case shape.Double:
		if f := math.Float64frombits(v); !(f >= math.Float64frombits(r.Lo) && f <= math.Float64frombits(r.Hi)) {
			w.problem(w.depth, strconv.FormatFloat(f, 'g', -1, 64)+" is out of range")
		}
	case shape.Enum:
		if v > 63 || r.Lo>>v&1 == 0 {
			w.problem(w.depth, "unknown value "+strconv.FormatInt(int64(int32(v)), 10))
		}
	default: // a rule of another kind of value
	}
}

// nested checks a duration, or the scalar in a wrapper; malformed content is left to the walk itself.
func (w *Walker) nested(d *shape.Field, val []byte) {
	r := &shape.Rules[d.Rule]
	if r.Kind == shape.Duration {
		if n, ok := nanos(val); !ok || n < int64(r.Lo) {
			w.problem(w.depth, "duration is too short or invalid")
		}
		return
	}
	if shape.Messages[d.Msg].Check&shape.Wrapper == 0 {
		return
	}
	var bits uint64
	var text []byte
	for c := (Cursor{Rest: val}); c.Next(); {
		if c.Num == 1 {
			bits, text = c.Bits, c.Val
		}
	}
	if r.Kind == shape.TextLen {
		w.text(r, text)
		return
	}
	w.number(r, bits)
}

// nanos reads a google.protobuf.Duration: seconds 1, nanos 2.
func nanos(b []byte) (int64, bool) {
	const maxSeconds = math.MaxInt64 / 1_000_000_000
	var sec, ns int64
	for c := (Cursor{Rest: b}); c.Next(); {
		switch c.Num {
		case 1:
			sec = int64(c.Bits)
		case 2:
			ns = int64(int32(c.Bits))
		}
	}
	if sec > maxSeconds || sec < -maxSeconds || ns <= -1e9 || ns >= 1e9 {
		return 0, false
	}
	return sec*1e9 + ns, true
}

// text checks a text or a byte string.
func (w *Walker) text(r *shape.Rule, val []byte) {
	if r.SkipIf && len(val) == 0 {
		return
	}
	switch r.Kind {
	case shape.TextLen:
		n := uint64(len(val))
		if n > r.Hi || n > 0 && r.Lo > 1 {
			n = uint64(utf8.RuneCount(val))
		}
		switch {
		case n == 0 && r.Lo > 0:
			w.problem(w.depth, "must not be empty")
		case n < r.Lo || n > r.Hi:
			w.problem(w.depth, "a length of "+strconv.FormatUint(n, 10)+" is out of range")
		case r.Plain && hasControl(val):
			w.problem(w.depth, "must not contain NUL, CR or LF")
		}
	case shape.Regex:
		w.regex(val)
	case shape.Address:
		w.address(val)
	default: // a rule of another kind of value
	}
}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c == 0 || c == '\r' || c == '\n' {
			return true
		}
	}
	return false
}

// regexSet remembers expressions known to be valid, by hash.
type regexSet map[uint64]struct{}

func (w *Walker) regex(expr []byte) {
	if len(expr) == 0 {
		w.problem(w.depth, "must not be empty")
		return
	}
	if len(expr) > maxRegex {
		w.problem(w.depth, "the regular expression is longer than "+strconv.Itoa(maxRegex)+" bytes")
		return
	}
	h := maphash.Bytes(w.checker.seed, expr)
	if _, ok := w.regexes[h]; ok {
		return
	}
	if _, err := syntax.Parse(string(expr), syntax.Perl); err != nil {
		w.problem(w.depth, bounded([]byte(err.Error())))
		return
	}
	if w.regexes == nil || len(w.regexes) >= maxRegexes {
		w.regexes = regexSet{}
	}
	w.regexes[h] = struct{}{}
}

// address checks a socket address: discovered endpoints must be IP addresses.
func (w *Walker) address(val []byte) {
	if len(val) == 0 {
		w.problem(w.depth, "must not be empty")
		return
	}
	if !w.eds || isIPv4(val) {
		return
	}
	if _, err := netip.ParseAddr(string(val)); err != nil {
		w.problem(w.depth, strconv.Quote(bounded(val))+" is not an IP address")
	}
}

// isIPv4 reports whether b is a dotted quad; it spares the common case an allocation.
func isIPv4(b []byte) bool {
	dots, digits, n := 0, 0, 0
	for _, c := range b {
		switch {
		case c == '.':
			if digits == 0 {
				return false
			}
			dots, digits, n = dots+1, 0, 0
		case c >= '0' && c <= '9':
			if digits > 0 && n == 0 {
				return false
			}
			n, digits = n*10+int(c-'0'), digits+1
			if n > 255 {
				return false
			}
		default:
			return false
		}
	}
	return dots == 3 && digits > 0
}

// uniqueDomains rejects a domain that comes twice within one RouteConfiguration.
func (w *Walker) uniqueDomains(b []byte) {
	w.domains = w.domains[:0]
	each := func(use func(h uint64, domain []byte) bool) {
		for c := (Cursor{Rest: b}); c.Next(); {
			if c.Num != routeVirtualHosts {
				continue
			}
			for v := (Cursor{Rest: c.Val}); v.Next(); {
				if v.Num == hostDomains && !use(w.lowerHash(v.Val), v.Val) {
					return
				}
			}
		}
	}
	each(func(h uint64, _ []byte) bool { w.domains = append(w.domains, h); return true })
	slices.Sort(w.domains)
	twice := uint64(0)
	for i := 1; i < len(w.domains); i++ {
		if w.domains[i] == w.domains[i-1] {
			twice = w.domains[i]
			break
		}
	}
	if twice == 0 {
		return
	}
	each(func(h uint64, domain []byte) bool {
		if h == twice {
			w.problem(w.depth-1, "domain "+strconv.Quote(bounded(domain))+" is given twice")
			return false
		}
		return true
	})
}

// lowerHash hashes a text as if its ASCII letters were small; it is never 0.
func (w *Walker) lowerHash(b []byte) uint64 {
	w.lower = AppendLower(w.lower[:0], b)
	return w.checker.Hash(w.lower)
}

// AppendLower appends b with its ASCII letters made small.
func AppendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// positiveWeights rejects weighted clusters that can never be chosen: clusters 1 {weight 2 {value 1}}.
func (w *Walker) positiveWeights(b []byte) {
	var sum, clusters uint64
	for c := (Cursor{Rest: b}); c.Next(); {
		if c.Num != 1 || c.Type != wireBytes {
			continue
		}
		clusters++
		for cw := (Cursor{Rest: c.Val}); cw.Next(); {
			if cw.Num != 2 {
				continue
			}
			for v := (Cursor{Rest: cw.Val}); v.Next(); {
				sum += v.Bits & math.MaxUint32
			}
		}
	}
	if clusters > 0 && (sum == 0 || sum > math.MaxUint32) {
		w.problem(w.depth-1, "the sum of weights must be between 1 and 4294967295")
	}
}
