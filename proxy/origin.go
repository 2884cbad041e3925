package proxy

import (
	"net/netip"
	"strings"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// Remote is the address that the request comes from, as far as the proxies on its
// way are trusted to tell: that of the connection, or one of x-forwarded-for.
func (x *Exchange) Remote() netip.Addr {
	if ap := x.Record.Request.Remote; ap.IsValid() {
		return ap.Addr()
	}
	return x.Conn.Remote.Addr()
}

// remote finds the trusted address in x-forwarded-for, which has been joined into
// one field: the last one, beyond those that trusted proxies have added. It is not
// valid where the connection's own address counts.
func (s *RequestSpec) remote(h *httpmsg.Header) netip.AddrPort {
	skip := s.XFFTrustedHops
	if s.UseRemoteAddress {
		if skip--; skip < 0 {
			return netip.AddrPort{}
		}
	}
	addr, ok := lastAddress(h.Value("x-forwarded-for"), skip)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, 0)
}

// lastAddress reads the last address of a list, passing over skip others. An
// element that is no plain address, with a port for instance, tells nothing.
func lastAddress(list string, skip int) (netip.Addr, bool) {
	for ; skip > 0; skip-- {
		i := strings.LastIndexByte(list, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		list = list[:i]
	}
	list = strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
	if list == "" {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(list)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// internal tells whether the request comes from an address that is configured as
// internal: at the edge somebody whose request nobody forwarded, behind it the only
// one that x-forwarded-for names.
func (s *RequestSpec) internal(x *Exchange) bool {
	if len(s.InternalRanges) == 0 {
		return false
	}
	addr := x.Conn.Remote.Addr()
	xff, forwarded := x.Request.Header.Joined("x-forwarded-for")
	if s.UseRemoteAddress == forwarded {
		return false
	}
	if forwarded {
		var ok bool
		if addr, ok = lastAddress(xff, 0); !ok || s.XFFTrustedHops > 0 || strings.IndexByte(xff, ',') >= 0 {
			return false
		}
	}
	for _, p := range s.InternalRanges {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// validReferer applies Envoy's rules: an absolute URL with a host, or a relative
// reference whose first segment has no colon; no fragment, no user information and
// nothing that a URL must not hold.
func validReferer(v string) bool {
	rest := v
	if scheme, after, ok := strings.Cut(v, "://"); ok && urlScheme(scheme) {
		host := after
		if i := strings.IndexAny(after, "/?#"); i >= 0 {
			host = after[:i]
		}
		if host == "" || strings.IndexByte(host, '@') >= 0 {
			return false
		}
		rest = strings.ReplaceAll(after, ":", "")
		rest = strings.NewReplacer("[", "", "]", "").Replace(rest)
	}
	slash := false
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '/':
			slash = true
		case c == ':':
			if !slash {
				return false
			}
		case !refererChar[c]:
			return false
		}
	}
	return true
}

func urlScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(s[i]))) {
			return false
		}
	}
	return s != ""
}

// refererChar holds what may stand in a path or a query (RFC 3986).
var refererChar = func() (t [256]bool) {
	for _, c := range "/?@!$&'()*+,;=-._~%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()
