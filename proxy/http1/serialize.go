package http1

import (
	"strconv"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// fieldWriter serialises a header. The fields that frame the message are the codec's
// own: content-length is written in its place with the true length, the others not
// at all, unless an upgrade passes, whose fields stay as they are.
type fieldWriter struct {
	naming
	length    int64 // httpmsg.Unknown leaves content-length out
	hop       bool  // an upgrade passes
	announced bool  // a content-length was written
}

func (w *fieldWriter) append(b []byte, h *httpmsg.Header) []byte {
	plain := w.spelling == nil && !w.proper
	for i := range h.Fields {
		f := &h.Fields[i]
		switch f.Name {
		case "content-length":
			if w.length < 0 || w.announced {
				continue
			}
			w.announced = true
			b = w.naming.length(b, w.length)
			continue
		case "connection", "upgrade":
			if !w.hop {
				continue
			}
		case "transfer-encoding", "keep-alive", "proxy-connection", "host":
			continue
		}
		if plain {
			b = append(b, f.Name...)
		} else {
			b = w.naming.append(b, f.Name)
		}
		b = append(b, ": "...)
		b = appendValue(b, f.Value)
		b = append(b, "\r\n"...)
	}
	return b
}

// appendValue writes a field value. Values that came over the wire were checked; one
// that was composed from configuration must not be able to end its line either, so
// control characters turn into spaces (RFC 9110 section 5.5).
func appendValue(b []byte, value string) []byte {
	for {
		i := scanValue(value, 0)
		b = append(b, value[:i]...)
		if i == len(value) {
			return b
		}
		b = append(b, ' ')
		value = value[i+1:]
	}
}

func (n naming) length(b []byte, length int64) []byte {
	b = append(n.append(b, "content-length"), ": "...)
	b = strconv.AppendInt(b, length, 10)
	return append(b, "\r\n"...)
}

// appendRequest serialises a request's head.
func (o *ClientOptions) appendRequest(b []byte, r *httpmsg.Request) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	switch {
	case r.Method == "CONNECT":
		b = append(b, r.Authority...)
	case o.FullTarget && r.Path[0] == '/':
		b = append(append(append(b, r.Scheme...), "://"...), r.Authority...)
		b = append(b, r.Path...)
	default:
		b = append(b, r.Path...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	w := fieldWriter{naming: o.Names.of(&r.Header), length: r.ContentLength, hop: r.Upgrade != ""}
	b = append(w.naming.append(b, "host"), ": "...)
	b = append(appendValue(b, r.Authority), "\r\n"...)
	b = w.append(b, &r.Header)
	switch {
	case r.ContentLength < 0:
		b = w.field(b, "transfer-encoding", "chunked")
	case !w.announced && (r.ContentLength > 0 || lengthExpected(r.Method)):
		b = w.naming.length(b, r.ContentLength)
	}
	if r.Upgrade != "" && !r.Header.Has("upgrade") {
		b = w.upgrade(b, r.Upgrade)
	}
	return append(b, "\r\n"...)
}

// upgrade asks for an upgrade, or accepts it, where no field did.
func (n naming) upgrade(b []byte, protocol string) []byte {
	b = n.field(b, "connection", "upgrade")
	b = append(n.append(b, "upgrade"), ": "...)
	return append(appendValue(b, protocol), "\r\n"...)
}

// lengthExpected names the methods whose requests announce even an absent body
// (RFC 9110 section 8.6): all but those that have none, as Envoy does.
func lengthExpected(method string) bool {
	switch method {
	case "GET", "HEAD", "DELETE", "TRACE", "CONNECT":
		return false
	default:
		return true
	}
}

// writable reports whether a request line can be made of the request: neither part
// may hold white space or control characters.
func writable(r *httpmsg.Request) bool {
	target := r.Path
	if r.Method == "CONNECT" {
		target = r.Authority
	}
	return r.Method != "" && target != "" && scanTarget(r.Method, 0) == len(r.Method) &&
		scanTarget(target, 0) == len(target)
}

// appendStatus serialises a status line.
func appendStatus(b []byte, http10 bool, status int, reason string) []byte {
	if http10 {
		b = append(b, "HTTP/1.0 "...)
	} else {
		b = append(b, "HTTP/1.1 "...)
	}
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if reason == "" {
		reason = Reason(status)
	}
	b = append(b, reason...)
	return append(b, "\r\n"...)
}

func hexDigits(n int) int {
	d := 1
	for n >>= 4; n > 0; n >>= 4 {
		d++
	}
	return d
}

func appendHex(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 16) }

// Reason is the standard phrase of a status, as Envoy spells it.
func Reason(status int) string {
	if s, ok := reasons[status]; ok {
		return s
	}
	return "Unknown"
}

var reasons = map[int]string{
	100: "Continue", 101: "Switching Protocols",
	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
	205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large",
	414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
	421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked", 424: "Failed Dependency",
	425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
	507: "Insufficient Storage", 508: "Loop Detected", 510: "Not Extended", 511: "Network Authentication Required",
}
