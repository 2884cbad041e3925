package match

import (
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Header matches one header, or one pseudo header, of a request by Envoy's
// HeaderMatcher rules. An absent header matches nothing, even inverted, unless it is
// to be treated as empty.
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

// Name is the header's, in lower case.
func (h *Header) Name() string { return h.spec.Name }

// MatchValue decides about a value that was found elsewhere, under the name of the
// header.
func (h *Header) MatchValue(value string) bool {
	if h.spec.Present != nil || h.spec.Value == nil && h.spec.Range == nil {
		return (h.spec.Present == nil || *h.spec.Present) != h.spec.Invert
	}
	return h.matchOne(value, true)
}

// Match reports whether the request's header satisfies the matcher. Each value of a
// repeated header is looked at by itself, so that nobody hides one behind another:
// one that matches is enough, and inverted none may match.
func (h *Header) Match(r *httpmsg.Request) bool {
	name := h.spec.Name
	if name == "" || name[0] == ':' || name == "host" || joined[name] {
		value, ok := HeaderValue(r, name)
		return h.matchSingle(value, ok)
	}
	return h.matchAmong(&r.Header)
}

// MatchResponse is Match for a response, whose one pseudo header is ":status".
func (h *Header) MatchResponse(r *httpmsg.Response) bool {
	if h.spec.Name == ":status" {
		return h.matchSingle(strconv.Itoa(r.Status), true)
	}
	return h.matchAmong(&r.Header)
}

// asksPresence reports whether the value does not matter.
func (h *Header) asksPresence() bool {
	return h.spec.Present != nil || (h.spec.Value == nil && h.spec.Range == nil)
}

func (h *Header) matchPresence(ok bool) bool {
	want := h.spec.Present == nil || *h.spec.Present
	return (ok == want) != h.spec.Invert
}

func (h *Header) matchSingle(value string, ok bool) bool {
	if h.asksPresence() {
		return h.matchPresence(ok)
	}
	return h.matchOne(value, ok)
}

func (h *Header) matchAmong(header *httpmsg.Header) bool {
	name := h.spec.Name
	if h.asksPresence() {
		return h.matchPresence(header.Has(name))
	}
	found := false
	for i := range header.Fields {
		if f := &header.Fields[i]; f.Name == name {
			found = true
			if h.matchValue(f.Value) {
				return !h.spec.Invert
			}
		}
	}
	if !found {
		return h.matchOne("", false)
	}
	return h.spec.Invert
}

// matchOne decides about a header that has one value, or none.
func (h *Header) matchOne(value string, ok bool) bool {
	if !ok {
		if !h.spec.MissingIsEmpty {
			return false
		}
		value = ""
	}
	return h.matchValue(value) != h.spec.Invert
}

// joined are the request headers of which Envoy keeps one entry only: what is
// repeated is one value with commas for every matcher.
var joined = map[string]bool{
	"accept": true, "accept-encoding": true, "access-control-request-headers": true, "access-control-request-method": true,
	"authorization": true, "cache-control": true, "content-encoding": true, "content-type": true, "grpc-timeout": true,
	"if-none-match": true, "origin": true, "pragma": true, "referer": true, "user-agent": true, "via": true,
	"x-client-trace-id": true, "x-envoy-downstream-service-cluster": true, "x-envoy-external-address": true,
	"x-envoy-original-host": true, "x-envoy-original-path": true, "x-forwarded-for": true, "x-forwarded-host": true,
	"x-forwarded-port": true, "x-forwarded-proto": true, "x-request-id": true,
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
