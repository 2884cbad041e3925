package http2

import (
	"strings"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// request decides what the head of a request means as a whole.
func (h *headParser) request(c *ServerConn, r *httpmsg.Request) {
	if h.authority == "" && h.hosts > 0 {
		h.authority = h.host
	}
	switch {
	case !h.fieldsHold():
		h.refuse(violation(detailHeader))
		return
	case !h.requestTarget(c), h.end && h.length > 0:
		h.refuse(violation(detailMessage))
		return
	}
	if h.authority == "" {
		h.refuse(&ProtocolError{Code: codeNo, Details: "missing_host_header", Status: 400})
		return
	}
	r.Method, r.Scheme, r.Authority, r.Path = method(h.method), h.scheme, h.authority, h.path
	r.SchemeTold = h.scheme != ""
	r.Protocol = "HTTP/2"
	r.Upgrade = ""
	if h.pseudo&pseudoProtocol != 0 {
		r.Method, r.Upgrade = "GET", strings.ToLower(h.protocol) // as Envoy sees it
	}
	if r.Scheme == "" {
		r.Scheme = "http"
		if c.o.SchemeTLS {
			r.Scheme = "https"
		}
	}
}

// fieldsHold checks each of the fields that say what is asked for by itself, before
// they are looked at together: the two have different details.
func (h *headParser) fieldsHold() bool {
	return h.hosts <= 1 && consists(h.authority, &authorityChar) && consists(h.path, &visibleChar) &&
		(h.pseudo&pseudoMethod == 0 || validMethod(h.method)) &&
		(h.pseudo&pseudoPath == 0 || h.path != "") &&
		(h.pseudo&pseudoScheme == 0 || h.scheme != "") &&
		(h.pseudo&pseudoProtocol == 0 || h.protocol != "")
}

// requestTarget checks the pseudo-header fields that name what is asked for.
func (h *headParser) requestTarget(c *ServerConn) bool {
	const usual = pseudoMethod | pseudoScheme | pseudoPath
	if h.method == "CONNECT" && h.pseudo&pseudoProtocol == 0 {
		return h.pseudo&(pseudoScheme|pseudoPath) == 0 && h.authority != "" // RFC 9113 section 8.5
	}
	if h.pseudo&usual != usual {
		return false
	}
	if h.pseudo&pseudoProtocol != 0 && h.method != "CONNECT" {
		return false // RFC 8441 section 4
	}
	switch {
	case strings.EqualFold(h.scheme, "http"):
		h.scheme = "http"
	case strings.EqualFold(h.scheme, "https"):
		h.scheme = "https"
	default:
		return false
	}
	if c.o.ValidateScheme && h.scheme == "https" && !c.o.SchemeTLS {
		return false
	}
	if h.path == "*" {
		return h.method == "OPTIONS"
	}
	return h.path[0] == '/'
}

// method returns a constant for the usual methods, so that their strings need not be
// kept.
func method(s string) string {
	switch s {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	default:
		return s
	}
}
