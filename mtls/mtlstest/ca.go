// Package mtlstest makes throw-away certificates for tests.
//
// A CA is made per test, issues key pairs for SPIFFE ids or for any template,
// signs CSRs as a mesh's CA does, and fills a registry of secrets. Nothing is
// written to disk. It must not be imported by product code.
package mtlstest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
)

// CA is a throw-away certificate authority.
type CA struct {
	// TrustDomain is the mesh's.
	TrustDomain string

	tb     testing.TB
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	parent *CA // of an intermediate
}

// NewCA makes a self-signed authority, valid for ten years from an hour ago.
func NewCA(tb testing.TB, trustDomain string) *CA {
	tb.Helper()
	ca := &CA{TrustDomain: trustDomain, tb: tb, key: newKey(tb)}
	ca.cert = sign(tb, authority("root"), nil, ca.key.Public(), ca.key)
	return ca
}

// Intermediate makes an authority that this one signed.
func (ca *CA) Intermediate() *CA {
	ca.tb.Helper()
	sub := &CA{TrustDomain: ca.TrustDomain, tb: ca.tb, key: newKey(ca.tb), parent: ca}
	sub.cert = sign(ca.tb, authority("intermediate"), ca.cert, sub.key.Public(), ca.key)
	return sub
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"outrigger test"}, CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
}

// RootPEM is the root certificate.
func (ca *CA) RootPEM() []byte {
	if ca.parent != nil {
		return ca.parent.RootPEM()
	}
	return encode(ca.cert.Raw)
}

// Trust is the root as material.
func (ca *CA) Trust() *mtls.Material {
	ca.tb.Helper()
	m, err := mtls.NewTrust(ca.RootPEM())
	if err != nil {
		ca.tb.Fatalf("trust bundle: %v", err)
	}
	return m
}

// Issue makes a workload's key pair, valid from a minute ago for ttl from now.
func (ca *CA) Issue(spiffeID string, ttl time.Duration) *mtls.Material {
	ca.tb.Helper()
	return ca.IssueWith(func(c *x509.Certificate) {
		c.URIs = []*url.URL{parse(ca.tb, spiffeID)}
		c.NotAfter = time.Now().Add(ttl)
	})
}

// IssueWith makes a key pair from a workload's template without names, valid for
// an hour, that edit changes.
func (ca *CA) IssueWith(edit func(*x509.Certificate)) *mtls.Material {
	ca.tb.Helper()
	chain, key := ca.IssuePEM(edit)
	m, err := mtls.NewKeyPair(chain, key)
	if err != nil {
		ca.tb.Fatalf("key pair: %v", err)
	}
	return m
}

// IssuePEM is IssueWith for what has to be written to files.
func (ca *CA) IssuePEM(edit func(*x509.Certificate)) (chain, key []byte) {
	ca.tb.Helper()
	template := leaf()
	edit(template)
	priv := newKey(ca.tb)
	cert := sign(ca.tb, template, ca.cert, priv.Public(), ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		ca.tb.Fatalf("encode key: %v", err)
	}
	return append(encode(cert.Raw), ca.chainPEM()...), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// chainPEM is what a leaf's holder has to send along.
func (ca *CA) chainPEM() []byte {
	if ca.parent == nil {
		return nil
	}
	return append(encode(ca.cert.Raw), ca.parent.chainPEM()...)
}

// Secrets is a registry with the workload's certificate and the root.
func (ca *CA) Secrets(spiffeID string, ttl time.Duration) *mtls.Secrets {
	ca.tb.Helper()
	s := mtls.NewSecrets(slog.New(slog.DiscardHandler))
	s.Get(mtls.WorkloadCert).Update(ca.Issue(spiffeID, ttl))
	s.Get(mtls.WorkloadRoots).Update(ca.Trust())
	return s
}

// Secret is a live secret with that material.
func Secret(name string, m *mtls.Material) *mtls.Secret {
	s := mtls.NewSecret(name)
	s.Update(m)
	return s
}

// Sign is a mtls.SignFunc: it signs the CSR's names for the lifetime asked for,
// backdated by two minutes as istiod does.
func (ca *CA) Sign(_ context.Context, csr []byte, lifetime time.Duration) ([]string, error) {
	block, _ := pem.Decode(csr)
	if block == nil {
		return nil, fmt.Errorf("no PEM block in %d bytes", len(csr))
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse CSR: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check CSR: %w", err)
	}
	template := leaf()
	template.NotBefore = time.Now().Add(-2 * time.Minute)
	template.NotAfter = time.Now().Add(lifetime)
	template.URIs = req.URIs
	cert, err := trySign(template, ca.cert, req.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	return []string{string(encode(cert.Raw)) + string(ca.chainPEM()), string(ca.RootPEM())}, nil
}

func leaf() *x509.Certificate {
	return &x509.Certificate{
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("generate key: %v", err)
	}
	return key
}

func sign(tb testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	cert, err := trySign(template, parent, pub, key)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func trySign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial: %w", err)
	}
	template.SerialNumber = serial
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func parse(tb testing.TB, raw string) *url.URL {
	tb.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		tb.Fatalf("parse %q: %v", raw, err)
	}
	return u
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
