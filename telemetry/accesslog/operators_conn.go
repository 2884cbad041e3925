package accesslog

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/flow"
)

// addressSource is one end of a flow; it may be invalid.
type addressSource func(r *flow.Record) netip.AddrPort

func directRemote(r *flow.Record) netip.AddrPort  { return r.Conn.Remote }
func local(r *flow.Record) netip.AddrPort         { return r.Conn.Local }
func destination(r *flow.Record) netip.AddrPort   { return r.Conn.Destination() }
func endpoint(r *flow.Record) netip.AddrPort      { return r.Upstream.Endpoint }
func upstreamLocal(r *flow.Record) netip.AddrPort { return r.Upstream.Local }

// reached is the endpoint, where there was a connection to it.
func reached(r *flow.Record) netip.AddrPort {
	if !r.Upstream.Local.IsValid() {
		return netip.AddrPort{}
	}
	return r.Upstream.Endpoint
}

// remote is the downstream, as trusted proxies tell it.
func remote(r *flow.Record) netip.AddrPort {
	if r.Request.Remote.IsValid() {
		return r.Request.Remote
	}
	return r.Conn.Remote
}

// addressForm appends an address in one of its forms.
type addressForm func(dst []byte, a netip.AddrPort) []byte

func withPort(dst []byte, a netip.AddrPort) []byte {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(dst)
}

func addressOnly(dst []byte, a netip.AddrPort) []byte { return a.Addr().Unmap().AppendTo(dst) }

func portOnly(dst []byte, a netip.AddrPort) []byte {
	return strconv.AppendUint(dst, uint64(a.Port()), 10)
}

func address(source addressSource, form addressForm) func(string, *Environment) (valueFunc, error) {
	return fixed(func(dst []byte, r *flow.Record) ([]byte, bool) {
		if r.Conn == nil {
			return dst, false
		}
		a := source(r)
		if !a.IsValid() {
			return dst, false
		}
		return form(dst, a), true
	})
}

func connectionID(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Conn == nil {
		return dst, false
	}
	return strconv.AppendUint(dst, r.Conn.ID, 10), true
}

func chainName(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Conn == nil {
		return dst, false
	}
	return str(dst, r.Conn.Chain)
}

// buildServerName compiles REQUESTED_SERVER_NAME with its optional fallback to the
// host of the request: SNI_ONLY, SNI_FIRST or HOST_FIRST.
func buildServerName(arg string, _ *Environment) (valueFunc, error) {
	order, _, _ := strings.Cut(arg, ":")
	switch order {
	case "", "SNI_ONLY":
		return func(dst []byte, r *flow.Record) ([]byte, bool) { return str(dst, serverName(r)) }, nil
	case "SNI_FIRST":
		return func(dst []byte, r *flow.Record) ([]byte, bool) {
			return either(dst, serverName(r), r.Request.Authority)
		}, nil
	case "HOST_FIRST":
		return func(dst []byte, r *flow.Record) ([]byte, bool) {
			return either(dst, r.Request.Authority, serverName(r))
		}, nil
	default:
		return nil, fmt.Errorf("%q is none of SNI_ONLY, SNI_FIRST, HOST_FIRST", order)
	}
}

func serverName(r *flow.Record) string {
	if r.Conn == nil {
		return ""
	}
	return r.Conn.TLS.SNI
}

func either(dst []byte, first, second string) ([]byte, bool) {
	if first != "" {
		return str(dst, first)
	}
	return str(dst, second)
}

func buildHostname(_ string, env *Environment) (valueFunc, error) {
	return constant(env.Hostname), nil
}

// buildEnvironment looks the variable up once: an environment does not change.
func buildEnvironment(arg string, env *Environment) (valueFunc, error) {
	if env.Lookup == nil {
		return absent, nil
	}
	v, ok := env.Lookup(arg)
	if !ok {
		return absent, nil
	}
	return constant(v), nil
}

func constant(s string) valueFunc {
	return func(dst []byte, _ *flow.Record) ([]byte, bool) { return str(dst, s) }
}

func handshakeFailure(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Conn == nil {
		return dst, false
	}
	return unspaced(dst, r.Conn.TLS.Failure)
}

func tlsVersion(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Conn == nil {
		return dst, false
	}
	switch r.Conn.TLS.Version {
	case tls.VersionTLS10:
		return append(dst, "TLSv1"...), true
	case tls.VersionTLS11:
		return append(dst, "TLSv1.1"...), true
	case tls.VersionTLS12:
		return append(dst, "TLSv1.2"...), true
	case tls.VersionTLS13:
		return append(dst, "TLSv1.3"...), true
	default:
		return dst, false
	}
}

// ciphers are the names that Envoy's TLS library gives to the suites that a Go
// server can negotiate.
var ciphers = map[uint16]string{
	tls.TLS_AES_128_GCM_SHA256:                        "TLS_AES_128_GCM_SHA256",
	tls.TLS_AES_256_GCM_SHA384:                        "TLS_AES_256_GCM_SHA384",
	tls.TLS_CHACHA20_POLY1305_SHA256:                  "TLS_CHACHA20_POLY1305_SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         "ECDHE-RSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          "ECDHE-ECDSA-AES128-SHA",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:          "ECDHE-ECDSA-AES256-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:            "ECDHE-RSA-AES128-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:            "ECDHE-RSA-AES256-SHA",
}

func tlsCipher(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.Conn == nil {
		return dst, false
	}
	return str(dst, ciphers[r.Conn.TLS.CipherSuite])
}

// identitySource is a certificate holder of a flow, or nil.
type identitySource func(r *flow.Record) *flow.Identity

func downstreamPeer(r *flow.Record) *flow.Identity {
	if r.Conn == nil {
		return nil
	}
	return &r.Conn.TLS.Peer
}

func downstreamOwn(r *flow.Record) *flow.Identity {
	if r.Conn == nil {
		return nil
	}
	return &r.Conn.TLS.Own
}

func upstreamPeer(r *flow.Record) *flow.Identity { return r.Upstream.Peer }

func identity(source identitySource, field func([]byte, *flow.Identity) ([]byte, bool)) func(string, *Environment) (valueFunc, error) {
	return fixed(func(dst []byte, r *flow.Record) ([]byte, bool) {
		id := source(r)
		if id == nil {
			return dst, false
		}
		return field(dst, id)
	})
}

func uriSANs(dst []byte, id *flow.Identity) ([]byte, bool)     { return joined(dst, id.URIs) }
func dnsSANs(dst []byte, id *flow.Identity) ([]byte, bool)     { return joined(dst, id.DNS) }
func subject(dst []byte, id *flow.Identity) ([]byte, bool)     { return str(dst, id.Subject) }
func serial(dst []byte, id *flow.Identity) ([]byte, bool)      { return str(dst, id.Serial) }
func fingerprint(dst []byte, id *flow.Identity) ([]byte, bool) { return str(dst, id.Hash) }

func joined(dst []byte, all []string) ([]byte, bool) {
	for i, s := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, s...)
	}
	return dst, len(all) > 0
}
