package filter

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/outrigger-mesh/outrigger/proxy"
)

var (
	_ proxy.Filter         = (*Sessions)(nil)
	_ proxy.ResponseFilter = (*Sessions)(nil)
)

// SessionSpec says how a downstream tells which endpoint it had before: by a cookie, or
// by a header.
type SessionSpec struct {
	// Header, in lower case, takes the place of the cookie.
	Header string
	Name   string
	// Path is where the cookie counts, New what those get who had another endpoint.
	Path string
	New  proxy.NewCookie
	// Strict requests go to the endpoint that they name, or nowhere.
	Strict bool
}

// Sessions keeps downstreams with the endpoint that they had, as long as the cluster
// admits it (envoy.filters.http.stateful_session). The endpoint's address is in the
// hands of the downstream, and only counts if it is one of the cluster's.
type Sessions struct {
	// immutable
	name proxy.FilterName
	spec *SessionSpec // nil: rules alone say something
}

// NewSessions makes the filter of a chain; rules may bring another *SessionSpec.
func NewSessions(name proxy.FilterName, spec *SessionSpec) *Sessions {
	return &Sessions{name: name, spec: spec}
}

// session is what a request brought.
type session struct {
	spec     *SessionSpec
	endpoint netip.AddrPort // not valid where it named none
}

// Request asks for the endpoint that the request names.
func (s *Sessions) Request(x *proxy.Exchange) *proxy.Reply {
	spec := s.spec
	if own, ok := x.Setting(s.name).(*SessionSpec); ok {
		spec = own
	}
	if spec == nil || !spec.counts(x.Request.Path) {
		return nil
	}
	had := &session{spec: spec}
	if text := spec.read(x); text != "" {
		if at, err := netip.ParseAddrPort(text); err == nil {
			had.endpoint = at
			x.Prefer(at, spec.Strict)
		}
	}
	x.Remember(s, had)
	return nil
}

// counts reports whether the cookie counts for a path.
func (s *SessionSpec) counts(path string) bool {
	if s.Header != "" || s.Path == "" || s.Path == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(path, s.Path)
	return ok && (rest == "" || s.Path[len(s.Path)-1] == '/' || strings.IndexByte("/?#", rest[0]) >= 0)
}

func (s *SessionSpec) read(x *proxy.Exchange) string {
	text := ""
	if s.Header != "" {
		text = x.Request.Header.Value(s.Header)
	} else {
		text = proxy.CookieValue(&x.Request.Header, s.Name)
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	if s.Header != "" {
		return string(decoded)
	}
	return cookieAddress(decoded)
}

// Response tells the downstream which endpoint it has, where it has another one.
func (s *Sessions) Response(x *proxy.Exchange) {
	had, ok := x.Recall(s).(*session)
	has := x.Record.Upstream.Endpoint
	if !ok || !has.IsValid() || has == had.endpoint {
		return
	}
	h := &x.Response.Header
	if had.spec.Header != "" {
		h.Set(had.spec.Header, base64.StdEncoding.EncodeToString([]byte(has.String())))
		return
	}
	value := base64.StdEncoding.EncodeToString(addressCookie(has.String()))
	h.Add("set-cookie", had.spec.New.SetCookie(had.spec.Name, value))
}

// The content of a cookie is a message of which field 1 is the address (Envoy's
// cookie.proto). Field 2, when it expires, is by a clock of its writer's: browsers see
// to that.
const addressField = 1<<3 | 2

func addressCookie(addr string) []byte {
	b := binary.AppendUvarint([]byte{addressField}, uint64(len(addr)))
	return append(b, addr...)
}

// cookieAddress reads such a message, or the address alone, as older Envoys wrote it.
func cookieAddress(b []byte) string {
	addr, ok := "", true
	for rest := b; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 {
			ok = false
			break
		}
		rest = rest[n:]
		v, n := binary.Uvarint(rest)
		switch {
		case n <= 0, tag&7 != 0 && tag&7 != 2, tag&7 == 2 && v > uint64(len(rest)-n):
			ok = false
		case tag&7 == 2:
			if tag == addressField {
				addr = string(rest[n : n+int(v)]) //nolint:gosec // within rest
			}
			rest = rest[n+int(v):] //nolint:gosec // within rest
		default:
			rest = rest[n:]
		}
		if !ok {
			break
		}
	}
	if !ok {
		return string(b)
	}
	return addr
}
