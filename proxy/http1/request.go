package http1

import (
	"strings"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// requestParser turns the bytes of a head into a request.
type requestParser struct {
	fieldParser
	acceptHTTP10   bool
	validateScheme bool
	tls            bool
	noAbsolute     bool
	// http10 and what follows are the outcome.
	http10    bool
	keepAlive bool
	expect    bool
	framing   framing
}

// framing is how the end of a body is found.
type framing uint8

const (
	framingNone framing = iota
	framingLength
	framingChunked
	framingClose
)

// parse reads one head from the start of b into r, and returns its length. On
// errIncomplete it may be called again with more bytes.
func (p *requestParser) parse(b []byte, r *httpmsg.Request) (int, error) {
	p.size, p.lines, p.sp = 0, 0, specials{}
	p.http10, p.expect, p.framing = false, false, framingNone
	r.Header.Fields = r.Header.Fields[:0]
	r.Header.Spelling = p.spelling
	target, i, err := p.requestLine(b, r)
	if err != nil {
		return 0, err
	}
	p.size = len(target)
	n, err := p.fieldParser.parse(b, i, &r.Header)
	if err != nil {
		return 0, err
	}
	return n, p.complete(r, target)
}

// requestLine reads "METHOD target HTTP/1.x" and returns the target and where the
// fields start.
func (p *requestParser) requestLine(b []byte, r *httpmsg.Request) (string, int, error) {
	i := 0
	for i < len(b) && lowerToken[b[i]] != 0 {
		i++
	}
	if i == len(b) {
		if i > maxMethod {
			return "", 0, errSyntax
		}
		return "", 0, errIncomplete
	}
	if b[i] == 0 && i > 0 {
		return "", 0, errCharacters
	}
	if r.Method = method(b[:i]); b[i] != ' ' || r.Method == "" {
		return "", 0, errSyntax
	}
	i++
	start := i
	i = scanTarget(b, i)
	if i-start > p.bytes {
		return "", 0, errTooLarge
	}
	if i == len(b) {
		return "", 0, errIncomplete
	}
	if c := b[i]; c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f {
		return "", 0, errCharacters
	}
	if b[i] == '\r' && b[start] == '/' {
		return "", 0, unversioned(b, i)
	}
	if b[i] != ' ' || i == start {
		return "", 0, errSyntax
	}
	target := text(b[start:i])
	next, err := p.version(b, i+1, r)
	return target, next, err
}

const protocolLen = len("HTTP/1.1")

// version reads the protocol and the end of the request line. Any other version
// than 1.1 is treated as 1.0, as Envoy does, but only 1.0 can be admitted.
func (p *requestParser) version(b []byte, i int, r *httpmsg.Request) (int, error) {
	if i < len(b) && b[i] == '\r' {
		return 0, unversioned(b, i)
	}
	v := b[i:min(len(b), i+protocolLen)]
	const shape = "HTTP/"
	if n := min(len(v), len(shape)); string(v[:n]) != shape[:n] {
		return 0, errSyntax
	}
	if len(v) < protocolLen {
		return 0, errIncomplete
	}
	switch string(v) {
	case "HTTP/1.1":
		r.Protocol = "HTTP/1.1"
	case "HTTP/1.0":
		r.Protocol = "HTTP/1.0"
		p.http10 = true
	default:
		if !digit(v[5]) || v[6] != '.' || !digit(v[7]) {
			return 0, errSyntax
		}
		return 0, errLowVersion
	}
	i += protocolLen
	if i >= len(b) {
		return 0, errIncomplete
	}
	if b[i] != '\r' {
		return 0, errSyntax
	}
	return lineEnd(b, i)
}

// unversioned is what a request line is that ends where its version should be.
func unversioned(b []byte, i int) error {
	if _, err := lineEnd(b, i); err != nil {
		return err
	}
	return errLowVersion
}

func digit(c byte) bool { return c-'0' <= 9 }

// complete decides what the head as a whole means.
func (p *requestParser) complete(r *httpmsg.Request, target string) error {
	if p.http10 && !p.acceptHTTP10 {
		return errLowVersion
	}
	if err := p.lengths(r); err != nil {
		return err
	}
	o := options{}
	if p.sp.connections > 0 {
		var err error
		if o, err = p.connectionOptions(&r.Header); err != nil {
			return err
		}
	}
	p.keepAlive = !o.close && (!p.http10 || o.keepAlive) && (p.sp.codings == 0 || p.sp.lengths == 0)
	p.expect = p.sp.expect && !p.http10 && p.framing != framingNone && !p.keepExpect
	r.Upgrade = ""
	if o.upgrade && p.sp.upgrades > 0 && !p.http10 {
		r.Upgrade = upgradeToken(p.sp.upgrade)
	}
	if r.Upgrade == "" {
		p.dropHop(&r.Header)
	}
	return p.target(r, target)
}

// lengths finds the body's framing and refuses whatever could be read in two ways.
func (p *requestParser) lengths(r *httpmsg.Request) error {
	s := &p.sp
	r.ContentLength = 0
	if s.codings > 0 {
		switch {
		case r.Method == "CONNECT":
			return errConnectCoding
		case p.http10:
			return errSyntax
		case s.codings > 1 || !equalFold(s.coding, "chunked"):
			return errCoding
		case s.lengths > 0 && !p.chunkedLength:
			return errLengthCoding
		}
		if s.lengths > 0 { // RFC 9112 section 6.3: the coding counts
			r.Header.Del("content-length")
		}
		p.framing = framingChunked
		r.ContentLength = httpmsg.Unknown
		return nil
	}
	if s.lengths == 0 {
		return nil
	}
	n, ok := parseLength(s.length)
	if !ok || s.lengths > 1 {
		return errSyntax
	}
	if n > 0 {
		if r.Method == "CONNECT" {
			return errConnectLength
		}
		p.framing = framingLength
		r.ContentLength = n
	}
	return nil
}

// target splits the request target and finds the authority.
func (p *requestParser) target(r *httpmsg.Request, target string) error {
	r.Scheme, r.SchemeTold = "http", false
	if p.tls {
		r.Scheme = "https"
	}
	r.Authority, r.Path = p.sp.host, target
	switch {
	case r.Method == "CONNECT":
		if !hasPort(target) {
			return errURL
		}
		r.Authority, r.Path = target, ""
	case target[0] == '/', target == "*" && r.Method == "OPTIONS":
	case target == "*":
		return errURL
	case p.noAbsolute: // the path as it is, which is none
	default:
		if err := p.absolute(r, target); err != nil {
			return err
		}
	}
	switch {
	case p.sp.hosts > 1:
		return errAuthority
	case p.sp.hosts == 0 && !p.http10:
		return missingHost(r)
	case !validAuthority(r.Authority) || p.sp.host != r.Authority && !validAuthority(p.sp.host):
		return errAuthority
	}
	return nil
}

// hasPort reports that a target is an authority with a port, as CONNECT needs it.
func hasPort(target string) bool {
	i := strings.LastIndexByte(target, ':')
	port, ok := parseLength(target[i+1:])
	return i > 0 && ok && port <= 1<<16-1 && strings.IndexByte(target, '/') < 0
}

// absolute reads a target in absolute form, whose authority replaces the Host
// header (RFC 9112 section 3.2.2).
func (p *requestParser) absolute(r *httpmsg.Request, target string) error {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok {
		return errSyntax
	}
	switch {
	case equalFold(scheme, "http"):
		r.Scheme = "http"
	case equalFold(scheme, "https"):
		if p.validateScheme && !p.tls {
			return errPlainScheme
		}
		r.Scheme = "https"
	default:
		return errScheme
	}
	r.SchemeTold = true
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	r.Authority, r.Path = rest[:end], rest[end:]
	if r.Authority == "" || strings.IndexByte(r.Authority, '@') >= 0 {
		return errURL
	}
	if r.Path == "" || r.Path[0] != '/' {
		r.Path = "/" + r.Path
	}
	return nil
}

// upgradeToken returns the protocol that an Upgrade header asks for: all of its
// value, so that a list is nothing that anybody has configured. HTTP/2 in plain text
// is never one (RFC 9113 dropped it, and it is a way around policies).
func upgradeToken(value string) string {
	switch {
	case equalFold(value, "websocket"):
		return "websocket"
	case equalFold(value, "h2c"):
		return ""
	default:
		return strings.ToLower(value)
	}
}

// maxMethod is the length of the longest known method.
const maxMethod = len("UNSUBSCRIBE")

// method returns the known method that b spells, as a constant, or empty. The list
// is Envoy's.
func method(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "HEAD":
		return "HEAD"
	case "DELETE":
		return "DELETE"
	case "PATCH":
		return "PATCH"
	case "OPTIONS":
		return "OPTIONS"
	case "CONNECT", "TRACE", "COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK",
		"BIND", "REBIND", "UNBIND", "ACL", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "MSEARCH", "NOTIFY",
		"SUBSCRIBE", "UNSUBSCRIBE", "PURGE", "MKCALENDAR", "LINK", "UNLINK", "SOURCE", "QUERY":
		return text(b)
	default:
		return ""
	}
}
