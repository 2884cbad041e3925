package upstream

import "slices"

// Protocol is how the HTTP version towards an upstream is chosen.
type Protocol uint8

// The choices of protocol.
const (
	HTTP1 Protocol = iota
	HTTP2
	// AsDownstream follows what the downstream speaks.
	AsDownstream
	// Negotiated leaves it to ALPN: HTTP/1.1 where the upstream does not choose h2.
	Negotiated
)

// What HTTP offers where neither the flow nor the socket names protocols, as in
// Envoy.
var (
	offerHTTP1 = []string{"http/1.1"}
	offerHTTP2 = []string{"h2"}
	offerBoth  = []string{"h2", "http/1.1"}
)

// SpeaksHTTP2 reports whether a negotiated ALPN protocol means HTTP/2.
func SpeaksHTTP2(protocol string) bool { return protocol == "h2" || protocol == "istio-h2" }

// version is what is to be spoken for a flow: HTTP1, HTTP2 or Negotiated.
func (s *Spec) version(o *OpenOptions) Protocol {
	if s.HTTP.Protocol != AsDownstream {
		return s.HTTP.Protocol
	}
	if o != nil && o.Downstream == HTTP2 {
		return HTTP2
	}
	return HTTP1
}

// offer is the list of protocols for TLS to offer; nil is the socket's own.
func (w *way) offer(s *Spec, o *OpenOptions, version Protocol) []string {
	if w.socket.TLS == nil {
		return nil
	}
	if alpn := s.override(o, version); alpn != nil {
		return alpn
	}
	if c, ok := w.socket.TLS.(interface{ OffersALPN() bool }); !ok || c.OffersALPN() {
		return nil
	}
	switch version {
	case HTTP2:
		return offerHTTP2
	case Negotiated:
		return offerBoth
	case HTTP1, AsDownstream:
	}
	return offerHTTP1
}

// override is what a flow wants to be offered, or nil.
func (s *Spec) override(o *OpenOptions, version Protocol) []string {
	switch {
	case o == nil || !s.ALPNOverride:
		return nil
	case version == HTTP1 && o.ALPN10 != nil && s.HTTP.Protocol == AsDownstream:
		return o.ALPN10
	case version == HTTP1:
		return o.ALPN
	default:
		return o.ALPN2
	}
}

// withoutHTTP2 leaves out what would have the upstream choose HTTP/2.
func withoutHTTP2(alpn []string) []string {
	if alpn == nil {
		return offerHTTP1
	}
	return slices.DeleteFunc(slices.Clone(alpn), SpeaksHTTP2)
}
