package http1

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// errIncomplete asks a parser's caller for more bytes.
var errIncomplete = errors.New("head is incomplete")

const (
	// maxConnectionLines and maxNominated bound the work that Connection headers
	// cause; the second number is Envoy's.
	maxConnectionLines = 4
	maxNominated       = 10
	// maxTE is Envoy's bound of a TE value.
	maxTE = 256
	// uncounted is room for what of a head no limit counts.
	uncounted = 4 << 10
)

// limits bound a head: bytes of names and values, Envoy's way of counting, and
// fields. A continuation line counts as a field.
type limits struct {
	bytes  int
	fields int
}

// raw is how many bytes of a connection may be buffered for one head: the limit
// plus room for what the limit does not count.
func (l limits) raw() int { return l.bytes + uncounted }

// specials are the fields that tell about the connection and not about the message;
// the header does not get them, except content-length.
type specials struct {
	host     string
	length   string
	coding   string
	upgrade  string
	patience string // what Keep-Alive says
	hosts    int
	lengths  int
	codings  int
	upgrades int

	connection  [maxConnectionLines]string
	connections int
	expect      bool
}

// fieldParser reads header lines. Names are put in lower case in the buffer itself,
// and continuation lines are joined there, in a way that a second run over the same
// bytes reads the same.
type fieldParser struct {
	limits
	request bool
	// keepExpect leaves an expectation in the header, as it came.
	keepExpect bool
	// chunkedLength drops a length that comes beside the coding chunked.
	chunkedLength bool
	// spelling learns how names are written; nil in most cases.
	spelling *httpmsg.Spelling

	size  int
	lines int
	folds int // continuation lines that were joined, in all runs over one head
	sp    specials
}

// parse reads the fields of b from index i to the empty line and returns the index
// behind it.
func (p *fieldParser) parse(b []byte, i int, h *httpmsg.Header) (int, error) {
	for {
		if i >= len(b) {
			return 0, errIncomplete
		}
		if b[i] == '\r' {
			p.folds = 0
			return lineEnd(b, i)
		}
		start := i
		if p.spelling != nil && !p.learn(b[i:]) {
			return 0, errIncomplete
		}
		for i < len(b) {
			c := lowerToken[b[i]]
			if c == 0 {
				break
			}
			b[i] = c
			i++
		}
		if i == len(b) {
			return 0, errIncomplete
		}
		if b[i] == 0 && i > start {
			return 0, errCharacters
		}
		if b[i] != ':' || i == start {
			return 0, errSyntax
		}
		name := b[start:i]
		from, to, next, err := p.value(b, i+1)
		if err != nil {
			return 0, err
		}
		if err := p.take(text(name), text(b[from:to]), h); err != nil {
			return 0, err
		}
		i = next
	}
}

// value finds the value that starts at i: its bounds without surrounding white
// space, and where the next line starts.
func (p *fieldParser) value(b []byte, i int) (from, to, next int, err error) {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	from = i
	for {
		i = scanValue(b, i)
		if i+2 >= len(b) {
			if i < len(b) && b[i] != '\r' {
				return 0, 0, 0, errCharacters
			}
			return 0, 0, 0, errIncomplete
		}
		if b[i] != '\r' || b[i+1] != '\n' {
			return 0, 0, 0, errCharacters
		}
		if c := b[i+2]; c != ' ' && c != '\t' {
			break
		}
		// A continuation: the CRLF goes, the white space stays, as in Envoy. The
		// first part moves up to the second.
		if p.folds++; p.folds+p.lines > p.fields {
			return 0, 0, 0, errTooMany
		}
		copy(b[from+2:i+2], b[from:i])
		b[from], b[from+1] = ' ', ' '
		from += 2
		i += 2
	}
	to = i
	for from < to && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for to > from && (b[to-1] == ' ' || b[to-1] == '\t') {
		to--
	}
	return from, to, i + 2, nil
}

// take files one field.
func (p *fieldParser) take(name, value string, h *httpmsg.Header) error {
	p.size += len(name) + len(value)
	if p.size > p.bytes {
		return errTooLarge
	}
	if p.lines++; p.lines+p.folds > p.fields {
		return errTooMany
	}
	if p.special(name, value) {
		return nil
	}
	if p.request && name == "te" {
		if len(value) >= maxTE {
			return errConnection
		}
		if !hasTrailers(value) {
			return nil
		}
		value = "trailers"
	}
	h.Fields = append(h.Fields, httpmsg.Field{Name: name, Value: value})
	return nil
}

// special files the fields of the connection and reports whether the header must
// not have this one.
func (p *fieldParser) special(name, value string) bool {
	s := &p.sp
	switch name {
	case "host":
		if !p.request {
			return false
		}
		s.host = value
		s.hosts++
	case "content-length":
		s.length = value
		s.lengths++
		return false
	case "transfer-encoding":
		s.coding = value
		s.codings++
	case "connection":
		if s.connections < maxConnectionLines {
			s.connection[s.connections] = value
		}
		s.connections++
		return !hasToken(value, "upgrade")
	case "upgrade":
		if s.upgrades > 0 {
			value = s.upgrade + "," + value
		}
		s.upgrade = value
		s.upgrades++
		return false
	case "keep-alive":
		s.patience = value
	case "proxy-connection":
	case "expect":
		if !p.request || !equalFold(value, "100-continue") {
			return false
		}
		s.expect = true
		return !p.keepExpect
	default:
		return false
	}
	return true
}

// learn keeps the spelling of the name that b begins with, before it is changed. It
// reports false for a name that is valid so far and has not come to its end: it is
// left as it is for the next run.
func (p *fieldParser) learn(b []byte) bool {
	i := 0
	for i < len(b) && lowerToken[b[i]] != 0 {
		i++
	}
	if i == len(b) {
		return false
	}
	if b[i] == ':' {
		p.spelling.Learn(b[:i])
	}
	return true
}

// dropHop removes what was kept in its place for an upgrade that is none.
func (p *fieldParser) dropHop(h *httpmsg.Header) {
	if p.sp.upgrades > 0 {
		h.Del("upgrade")
	}
	if p.sp.connections > 0 {
		h.Del("connection")
	}
}

// options is what the Connection header asks for.
type options struct {
	close, keepAlive, upgrade bool
}

// connectionOptions reads the Connection headers and removes the fields that they
// nominate. Envoy refuses requests that nominate many fields, pseudo headers, or
// those by which it tells where a request comes from.
func (p *fieldParser) connectionOptions(h *httpmsg.Header) (o options, err error) {
	s := &p.sp
	if s.connections > maxConnectionLines && p.request {
		return o, errConnection
	}
	seen := 0
	for _, list := range s.connection[:min(s.connections, maxConnectionLines)] {
		for list != "" {
			var token string
			if token, list = nextToken(list); token == "" {
				continue
			}
			if seen++; seen >= maxNominated {
				if p.request {
					return o, errConnection
				}
				return o, nil
			}
			if err := p.option(token, h, &o); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

func (p *fieldParser) option(token string, h *httpmsg.Header, o *options) error {
	switch {
	case equalFold(token, "keep-alive"):
		o.keepAlive = true
	case equalFold(token, "close"):
		o.close = true
	case equalFold(token, "upgrade"):
		o.upgrade = true
	case equalFold(token, "te"):
		// take has reduced the field already.
	default:
		name := strings.ToLower(token)
		if p.request && (name[0] == ':' || name == "x-forwarded-for" || name == "x-forwarded-host" ||
			name == "x-forwarded-proto") {
			return errConnection
		}
		if p.request && name == "host" { // taken away, as any other
			p.sp.hosts = 0
		}
		h.Del(name)
	}
	return nil
}

// lineEnd returns the index behind the CRLF at i.
func lineEnd(b []byte, i int) (int, error) {
	if i+1 >= len(b) {
		return 0, errIncomplete
	}
	if b[i+1] != '\n' {
		return 0, errSyntax
	}
	return i + 2, nil
}

func hasToken(list, lower string) bool {
	for list != "" {
		var token string
		if token, list = nextToken(list); equalFold(token, lower) {
			return true
		}
	}
	return false
}

// hasTrailers looks for the one element of TE that passes a hop, spelled as Envoy
// wants it.
func hasTrailers(list string) bool {
	for list != "" {
		var token string
		if token, list = nextToken(list); token == "trailers" {
			return true
		}
	}
	return false
}

// parseLength reads a Content-Length value: digits only, and few enough that they
// fit.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n, true
}

// text is a string view of bytes that stay as they are while the string is used.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// keptFields is how many fields a connection keeps room for between two heads.
const keptFields = 32

// forget lets go of the strings of a head. They point into its buffer, which idle
// connections would keep from the collector.
func (p *fieldParser) forget(h *httpmsg.Header) {
	p.sp = specials{}
	if p.spelling != nil {
		p.spelling.Forget()
	}
	if cap(h.Fields) > keptFields {
		h.Fields = nil
		return
	}
	clear(h.Fields[:cap(h.Fields)]) // fields that were removed lie behind the others
	h.Fields = h.Fields[:0]
}
