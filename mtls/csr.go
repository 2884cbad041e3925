package mtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
)

// KeyKind is the kind of the workload's key.
type KeyKind uint8

// The kinds of keys.
const (
	ECDSAP256 KeyKind = iota
	ECDSAP384
	RSA2048
)

func (k KeyKind) generate() (crypto.Signer, error) {
	switch k {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("unknown kind of key %d", k)
}

// signingRequest is a PEM CSR with an empty subject and the id as its only name.
// The extension is critical, as RFC 5280 section 4.2.1.6 wants with an empty
// subject.
func signingRequest(id string, key crypto.Signer) ([]byte, error) {
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte(id)}})
	if err != nil {
		return nil, fmt.Errorf("encode SPIFFE id: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: names}},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("create signing request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
