package match

import (
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Header matches one header, or one pseudo header, of a request by Envoy's
// HeaderMatcher rules: several values are joined by "," first; an absent header
// matches nothing, even inverted, unless it is to be treated as empty.
type Header struct {
	spec HeaderSpec
}

// HeaderSpec describes a header matcher. Exactly one of Value, Present and Range
// decides; with none of them the header has to be present.
type HeaderSpec struct {
	// Name is lower case; ":method", ":path", ":authority", ":scheme" and "host"
	// name the pseudo headers.
	Name  string
	Value *String
	// Present, where set, wants the header present (true) or absent (false).
	Present *bool
	Range   *Range

	Invert         bool
	MissingIsEmpty bool
}

// Range is a half-open interval of integers.
type Range struct{ Start, End int64 }

// NewHeader returns the matcher of a spec.
func NewHeader(spec HeaderSpec) Header {
	spec.Name = strings.ToLower(spec.Name)
	return Header{spec: spec}
}

// Match reports whether the request's header satisfies the matcher.
func (h *Header) Match(r *httpmsg.Request) bool {
	value, ok := HeaderValue(r, h.spec.Name)
	if h.spec.Present != nil || (h.spec.Value == nil && h.spec.Range == nil) {
		want := h.spec.Present == nil || *h.spec.Present
		return (ok == want) != h.spec.Invert
	}
	if !ok {
		if !h.spec.MissingIsEmpty {
			return false
		}
		value = ""
	}
	return h.matchValue(value) != h.spec.Invert
}

func (h *Header) matchValue(value string) bool {
	if h.spec.Range != nil {
		n, err := strconv.ParseInt(value, 10, 64)
		return err == nil && n >= h.spec.Range.Start && n < h.spec.Range.End
	}
	return h.spec.Value.Match(value)
}

// HeaderValue returns a header's values joined, or a pseudo header.
func HeaderValue(r *httpmsg.Request, name string) (string, bool) {
	if name == "" {
		return "", false
	}
	if name[0] != ':' && name != "host" {
		return r.Header.Joined(name)
	}
	switch name {
	case ":method":
		return r.Method, true
	case ":path":
		return r.Path, r.Path != ""
	case ":authority", "host":
		return r.Authority, r.Authority != ""
	case ":scheme":
		return r.Scheme, r.Scheme != ""
	default:
		return "", false
	}
}
