package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

func TestLeafIsTrustedByItsOwnRootOnly(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	leaf, err := ca.Leaf("spiffe://cluster.local/ns/shop/sa/web", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := leaf.Leaf.URIs[0].String(), "spiffe://cluster.local/ns/shop/sa/web"; got != want {
		t.Errorf("got id %s, want %s", got, want)
	}
	if err := verify(leaf, ca); err != nil {
		t.Errorf("own root: %v", err)
	}
	if err := verify(leaf, other); err == nil {
		t.Error("a foreign root accepts the certificate")
	}
}

func TestWriteMakesWhatIstiodReads(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	if err := ca.Write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(dir+"/ca-cert.pem", dir+"/ca-key.pem"); err != nil {
		t.Error(err)
	}
	if _, err := tls.LoadX509KeyPair(dir+"/cert-chain.pem", dir+"/ca-key.pem"); err != nil {
		t.Error(err)
	}
}

func TestToken(t *testing.T) {
	issuer, err := pki.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	good := pki.ServiceAccount("shop", "web")
	token, err := issuer.Token(good)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := issuer.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := claims["sub"], "system:serviceaccount:shop:web"; got != want {
		t.Errorf("got subject %v, want %v", got, want)
	}
	if !json.Valid(issuer.JWKS()) {
		t.Errorf("key set is no JSON: %s", issuer.JWKS())
	}

	expired := good
	expired.TTL = -time.Minute
	old, err := issuer.Token(expired)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(token, ".")
	for name, bad := range map[string]string{
		"empty": "", "one part": "x", "expired": old, "forged head": "x" + head[1:] + "." + rest,
	} {
		if _, err := issuer.Verify(bad); !errors.Is(err, pki.ErrToken) {
			t.Errorf("%s: got %v, want ErrToken", name, err)
		}
	}
}

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("unit test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func verify(leaf tls.Certificate, ca *pki.CA) error {
	mid, err := x509.ParseCertificate(leaf.Certificate[1])
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(mid)
	_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), Intermediates: pool})
	return err
}
