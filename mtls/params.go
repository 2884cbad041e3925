package mtls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"
)

// handshakeTimeout bounds a handshake whose spec gives no other bound. Envoy has
// no bound of its own; istiod's default connect timeout is 10 s.
const handshakeTimeout = 10 * time.Second

// Params are the parameters of the TLS protocol. Zero values stand for TLS 1.2 to
// 1.3 and the cipher suites and curves of crypto/tls.
type Params struct {
	MinVersion   uint16
	MaxVersion   uint16
	CipherSuites []uint16 // of TLS 1.2 and before; those of 1.3 are fixed
	Curves       []tls.CurveID
	// Timeout bounds a handshake; zero stands for 10 s.
	Timeout time.Duration
}

func (p *Params) config() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion:       p.MinVersion,
		MaxVersion:       p.MaxVersion,
		CipherSuites:     p.CipherSuites,
		CurvePreferences: p.Curves,
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
		if p.MaxVersion != 0 {
			cfg.MinVersion = min(cfg.MinVersion, p.MaxVersion)
		}
	}
	if cfg.MaxVersion == 0 {
		cfg.MaxVersion = tls.VersionTLS13
	}
	if cfg.MinVersion > cfg.MaxVersion {
		return nil, fmt.Errorf("minimum version %s is above the maximum %s",
			tls.VersionName(cfg.MinVersion), tls.VersionName(cfg.MaxVersion))
	}
	return cfg, nil
}

func (p *Params) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return handshakeTimeout
}

// ParseVersion maps a protocol version of Envoy ("TLSv1_2") or of Istio
// ("TLSV1_2"). TLS_AUTO and the empty string give zero.
func ParseVersion(name string) (uint16, error) {
	switch strings.ToUpper(name) {
	case "", "TLS_AUTO":
		return 0, nil
	case "TLSV1_0":
		return tls.VersionTLS10, nil
	case "TLSV1_1":
		return tls.VersionTLS11, nil
	case "TLSV1_2":
		return tls.VersionTLS12, nil
	case "TLSV1_3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("unknown TLS version %q", name)
}

// opensslCiphers maps the names of OpenSSL and BoringSSL; the IANA names come
// from crypto/tls.
var opensslCiphers = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

// ParseCiphers maps cipher suites by the names of OpenSSL, BoringSSL or IANA,
// groups of equal preference such as "[A|B]" included. An unknown name is an
// error, as leaving it out could widen or empty the list. No names give nil.
func ParseCiphers(names []string) ([]uint16, error) {
	var ids []uint16
	var errs []error
	for _, entry := range names {
		group := entry
		if inner, ok := strings.CutPrefix(entry, "["); ok {
			group, ok = strings.CutSuffix(inner, "]")
			if !ok {
				errs = append(errs, fmt.Errorf("unknown cipher suite %q", entry))
				continue
			}
		}
		for name := range strings.SplitSeq(group, "|") {
			id, ok := cipherID(name)
			if !ok {
				errs = append(errs, fmt.Errorf("unknown cipher suite %q", name))
				continue
			}
			ids = append(ids, id)
		}
	}
	return ids, errors.Join(errs...)
}

func cipherID(name string) (uint16, bool) {
	if id, ok := opensslCiphers[name]; ok {
		return id, true
	}
	for _, suites := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range suites {
			if s.Name == name {
				return s.ID, true
			}
		}
	}
	return 0, false
}

// ParseCurves maps key exchange groups by the names of BoringSSL, OpenSSL or the
// NIST. An unknown name is an error. No names give nil.
func ParseCurves(names []string) ([]tls.CurveID, error) {
	var ids []tls.CurveID
	var errs []error
	for _, name := range names {
		switch name {
		case "X25519", "x25519":
			ids = append(ids, tls.X25519)
		case "P-256", "prime256v1", "secp256r1":
			ids = append(ids, tls.CurveP256)
		case "P-384", "secp384r1":
			ids = append(ids, tls.CurveP384)
		case "P-521", "secp521r1":
			ids = append(ids, tls.CurveP521)
		case "X25519MLKEM768":
			ids = append(ids, tls.X25519MLKEM768)
		default:
			errs = append(errs, fmt.Errorf("unknown ECDH curve %q", name))
		}
	}
	return ids, errors.Join(errs...)
}
