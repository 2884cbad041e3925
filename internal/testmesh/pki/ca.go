// Package pki makes the throw-away trust of a test mesh: the CA that is plugged
// into istiod and the tokens that stand for service accounts.
//
// NewCA makes a root and an intermediate and Write lays them out as istiod's
// ROOT_CA_DIR; Leaf issues a certificate directly, for a peer without a sidecar
// or, from a CA of one's own, for an intruder. NewIssuer makes a signing key,
// Token mints, Verify checks, JWKS is what istiod's JWT_RULE fetches.
//
// It must never be used for anything but tests.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// backdate makes certificates valid for peers whose clocks lag.
const backdate = time.Hour

// lifetime of the CA certificates.
const lifetime = 10 * 365 * 24 * time.Hour

// CA is a root with one intermediate that signs.
type CA struct {
	root, ca *x509.Certificate
	key      *ecdsa.PrivateKey
}

// NewCA makes new keys and certificates; organization tells CAs apart in logs.
func NewCA(organization string) (*CA, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rootTemplate := authority(organization, "test root", 1)
	root, err := sign(rootTemplate, rootTemplate, &rootKey.PublicKey, rootKey)
	if err != nil {
		return nil, err
	}
	ca, err := sign(authority(organization, "test intermediate", 0), root, &key.PublicKey, rootKey)
	if err != nil {
		return nil, err
	}
	return &CA{root: root, ca: ca, key: key}, nil
}

func authority(organization, name string, pathLen int) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{organization}, CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
}

func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Root returns the root certificate as PEM.
func (c *CA) Root() []byte { return certPEM(c.root) }

// Pool returns a pool with the root alone.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.root)
	return pool
}

// Write lays the CA out in dir as istiod reads it.
func (c *CA) Write(dir string) error {
	key, err := x509.MarshalECPrivateKey(c.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	write := func(name string, b []byte) error { return os.WriteFile(filepath.Join(dir, name), b, 0o600) }
	return errors.Join(
		write("root-cert.pem", c.Root()),
		write("ca-cert.pem", certPEM(c.ca)),
		write("cert-chain.pem", append(certPEM(c.ca), c.Root()...)),
		write("ca-key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})),
	)
}

// Leaf issues a certificate for a SPIFFE id, and host names if any, good for
// either side of a handshake.
func (c *CA) Leaf(id string, ttl time.Duration, hosts ...string) (tls.Certificate, error) {
	uri, err := url.Parse(id)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	leaf, err := sign(&x509.Certificate{
		NotBefore: now.Add(-backdate), NotAfter: now.Add(ttl),
		URIs: []*url.URL{uri}, DNSNames: hosts, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, c.ca, &key.PublicKey, c.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, c.ca.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
