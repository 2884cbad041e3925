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
	if h.hosts > 1 || !consists(h.authority, &authorityChar) {
		h.refuse(violation(detailMessage))
		return
	}
	ok := h.requestTarget(c)
	if !ok || !validMethod(h.method) {
		h.refuse(violation(detailMessage))
		return
	}
	if h.end && h.length > 0 {
		h.refuse(violation(detailMessage))
		return
	}
	if h.authority == "" {
		h.refuse(&ProtocolError{Code: codeNo, Details: "missing_host_header", Status: 400})
		return
	}
	r.Method, r.Scheme, r.Authority, r.Path = method(h.method), h.scheme, h.authority, h.path
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

// requestTarget checks the pseudo-header fields that name what is asked for.
func (h *headParser) requestTarget(c *ServerConn) bool {
	const usual = pseudoMethod | pseudoScheme | pseudoPath
	if h.method == "CONNECT" && h.pseudo&pseudoProtocol == 0 {
		return h.pseudo&(pseudoScheme|pseudoPath) == 0 && h.authority != "" // RFC 9113 section 8.5
	}
	if h.pseudo&usual != usual {
		return false
	}
	if h.pseudo&pseudoProtocol != 0 && (h.method != "CONNECT" || h.protocol == "" || !c.set.AllowConnect) {
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
	return h.path != "" && h.path[0] == '/' && consists(h.path, &visibleChar)
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
