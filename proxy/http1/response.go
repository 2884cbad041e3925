package http1

import "github.com/outrigger-mesh/outrigger/proxy/httpmsg"

// responseParser turns the bytes of a head into a response.
type responseParser struct {
	fieldParser

	// keepAlive, framing and upgrade are the outcome.
	keepAlive bool
	framing   framing
	upgrade   string
}

// parse reads one head from the start of b into r, and returns its length. The
// request tells how the body ends.
func (p *responseParser) parse(b []byte, r *httpmsg.Response, req *httpmsg.Request) (int, error) {
	p.size, p.lines, p.sp = 0, 0, specials{}
	p.framing, p.upgrade = framingNone, ""
	r.Header.Fields = r.Header.Fields[:0]
	r.Header.Spelling = p.spelling
	i, err := p.statusLine(b, r)
	if err != nil {
		return 0, err
	}
	n, err := p.fieldParser.parse(b, i, &r.Header)
	if err != nil {
		return 0, err
	}
	return n, p.complete(r, req)
}

// statusLine reads "HTTP/1.x 200 reason" and returns where the fields start.
func (p *responseParser) statusLine(b []byte, r *httpmsg.Response) (int, error) {
	const shape = "HTTP/1."
	if n := min(len(b), len(shape)); string(b[:n]) != shape[:n] {
		return 0, errSyntax
	}
	const status = len("HTTP/1.1 ")
	if len(b) < status+4 {
		return 0, errIncomplete
	}
	switch b[len(shape)] {
	case '1':
		r.Protocol = "HTTP/1.1"
	case '0':
		r.Protocol = "HTTP/1.0"
	default:
		return 0, errSyntax
	}
	if b[status-1] != ' ' || !digit(b[status]) || !digit(b[status+1]) || !digit(b[status+2]) || b[status] == '0' {
		return 0, errSyntax
	}
	r.Status = int(b[status]-'0')*100 + int(b[status+1]-'0')*10 + int(b[status+2]-'0')
	i := status + 3
	if b[i] == ' ' {
		i++
	} else if b[i] != '\r' {
		return 0, errSyntax
	}
	start := i
	if i = scanValue(b, i); i-start > p.bytes {
		return 0, errTooLarge
	}
	if i == len(b) {
		return 0, errIncomplete
	}
	if b[i] != '\r' {
		return 0, errSyntax
	}
	r.Reason = text(b[start:i])
	return lineEnd(b, i)
}

// complete decides what the head as a whole means (RFC 9112 section 6.3).
func (p *responseParser) complete(r *httpmsg.Response, req *httpmsg.Request) error {
	s := &p.sp
	o := options{}
	if s.connections > 0 {
		o, _ = p.connectionOptions(&r.Header) // responses are never refused for it
	}
	p.keepAlive = !o.close && (r.Protocol == "HTTP/1.1" || o.keepAlive)
	if s.codings > 1 || s.codings == 1 && !equalFold(s.coding, "chunked") {
		return errCoding
	}
	if s.codings > 0 && s.lengths > 0 {
		if !p.chunkedLength {
			return errLengthCoding
		}
		r.Header.Del("content-length")
		s.lengths = 0
		p.keepAlive = false
	}
	r.ContentLength = httpmsg.Unknown
	if s.lengths > 0 {
		n, ok := parseLength(s.length)
		if !ok || s.lengths > 1 {
			return errSyntax
		}
		r.ContentLength = n
	}
	if bare := r.Status < 200 || r.Status == 204; bare && (s.codings > 0 || r.ContentLength > 0) {
		return errNoContent
	}
	if r.Status == 101 && o.upgrade && s.upgrades > 0 {
		p.upgrade = s.upgrade
	} else {
		p.dropHop(&r.Header)
	}
	switch {
	case r.Status == 101:
		r.ContentLength = 0
	case r.Status < 200 || r.Status == 204 || req.Method == "CONNECT" && r.Status < 300:
		r.ContentLength = 0
	case r.Status == 304 || req.Method == "HEAD":
	case s.codings > 0:
		p.framing = framingChunked
	case r.ContentLength > 0:
		p.framing = framingLength
	case r.ContentLength < 0:
		p.framing = framingClose
		p.keepAlive = false
	}
	return nil
}
