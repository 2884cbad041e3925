package mtls

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// Material is an immutable key pair or an immutable trust bundle.
type Material struct {
	// NotBefore and NotAfter bound the leaf's validity; for a bundle, the
	// latest start and the earliest end among its certificates.
	NotBefore time.Time
	NotAfter  time.Time
	// PEM shows the certificates, never a key.
	PEM []byte
	// Fingerprint is the lower-case hexadecimal SHA-256 of the certificates.
	Fingerprint string
	// Skipped counts certificates of a bundle that could not be parsed.
	Skipped int

	pair     *tls.Certificate
	identity flow.Identity
	pool     *x509.CertPool
	roots    []*x509.Certificate
	proven   proven // of a bundle: the one part that grows
}

// maxPEM bounds what is read of one secret; the bundles of operating systems have
// about 220 KiB.
const maxPEM = 4 << 20

// NewKeyPair builds material from a certificate chain, leaf first, and its key.
func NewKeyPair(chainPEM, keyPEM []byte) (*Material, error) {
	if len(chainPEM) > maxPEM || len(keyPEM) > maxPEM {
		return nil, fmt.Errorf("key pair is larger than %d bytes", maxPEM)
	}
	pair, err := tls.X509KeyPair(chainPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read key pair: %w", err)
	}
	return newPair(&pair)
}

func newPair(pair *tls.Certificate) (*Material, error) {
	leaf := pair.Leaf
	if leaf == nil {
		return nil, errors.New("read key pair: no leaf certificate")
	}
	id, err := identityOf(leaf)
	if err != nil {
		return nil, fmt.Errorf("read own certificate: %w", err)
	}
	m := &Material{
		NotBefore: leaf.NotBefore,
		NotAfter:  leaf.NotAfter,
		pair:      pair,
		identity:  *id,
	}
	m.show(pair.Certificate)
	return m, nil
}

// NewTrust builds material from a bundle of trusted certificates. Certificates
// that crypto/x509 cannot read are skipped and counted, as trusting fewer is
// safe; a bundle without any, or one that ends inside a certificate, is an error.
func NewTrust(bundlePEM []byte) (*Material, error) {
	if len(bundlePEM) > maxPEM {
		return nil, fmt.Errorf("trust bundle is larger than %d bytes", maxPEM)
	}
	var roots []*x509.Certificate
	skipped := 0
	rest := bundlePEM
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			skipped++
			continue
		}
		roots = append(roots, cert)
	}
	if bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, errors.New("trust bundle ends inside a PEM block")
	}
	if len(roots) == 0 {
		return nil, errors.New("trust bundle holds no certificate")
	}
	m := newTrust(roots)
	m.Skipped = skipped
	return m, nil
}

// newTrust keeps the first of equal certificates.
func newTrust(certs []*x509.Certificate) *Material {
	m := &Material{pool: x509.NewCertPool()}
	seen := make(map[[sha256.Size]byte]bool, len(certs))
	raws := make([][]byte, 0, len(certs))
	for _, c := range certs {
		sum := sha256.Sum256(c.Raw)
		if seen[sum] {
			continue
		}
		seen[sum] = true
		m.roots = append(m.roots, c)
		m.pool.AddCert(c)
		raws = append(raws, c.Raw)
		if c.NotBefore.After(m.NotBefore) {
			m.NotBefore = c.NotBefore
		}
		if m.NotAfter.IsZero() || c.NotAfter.Before(m.NotAfter) {
			m.NotAfter = c.NotAfter
		}
	}
	m.show(raws)
	return m
}

// SystemTrust is the trust bundle of the operating system.
func SystemTrust() (*Material, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read system roots: %w", err)
	}
	if pool.Equal(x509.NewCertPool()) {
		return nil, errors.New("read system roots: the image has none; mount a CA bundle")
	}
	return &Material{pool: pool, Fingerprint: "system"}, nil
}

// merge returns a bundle of the certificates of a and b; either may be nil.
func merge(a, b *Material) *Material {
	switch {
	case b == nil || len(b.roots) == 0:
		return a
	case a == nil || len(a.roots) == 0:
		return b
	}
	both := make([]*x509.Certificate, 0, len(a.roots)+len(b.roots))
	both = append(both, a.roots...)
	return newTrust(append(both, b.roots...))
}

func (m *Material) show(raws [][]byte) {
	h := sha256.New()
	var buf bytes.Buffer
	for _, raw := range raws {
		h.Write(raw)
		buf.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	}
	m.PEM = buf.Bytes()
	m.Fingerprint = hex.EncodeToString(h.Sum(nil))
}

// Trust reports whether m is a trust bundle rather than a key pair.
func (m *Material) Trust() bool { return m.pool != nil }

// Identity is what the key pair's certificate says of us; zero for a bundle.
func (m *Material) Identity() flow.Identity { return m.identity }

// Certificates are the chain, leaf first, or the trusted certificates. System
// roots are not listed. The caller must not change them.
func (m *Material) Certificates() []*x509.Certificate {
	if m.pair == nil {
		return m.roots
	}
	certs := make([]*x509.Certificate, 0, len(m.pair.Certificate))
	for _, raw := range m.pair.Certificate {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			continue
		}
		certs = append(certs, c)
	}
	return certs
}

// KeyPEM is the private key as PKCS #8, for writing it where an operator asked
// for it. It must not be logged or shown.
func (m *Material) KeyPEM() ([]byte, error) {
	if m.pair == nil {
		return nil, errors.New("a trust bundle has no key")
	}
	return marshalKey(m.pair.PrivateKey)
}

func marshalKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// equal compares the certificates; a fresh key always has a fresh certificate.
func (m *Material) equal(o *Material) bool {
	return m.Fingerprint == o.Fingerprint && m.Trust() == o.Trust()
}
