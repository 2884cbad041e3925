//go:build !race

package mtls

import (
	"crypto/x509"
	"math/big"
	"testing"
)

func TestUndecidedHelloAllocatesNothing(t *testing.T) {
	for name, in := range map[string][]byte{
		"plain text": []byte("GET / HTTP/1.1\r\n"),
		"short":      []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
	} {
		got := testing.AllocsPerRun(100, func() {
			if _, _, err := ParseClientHello(in); err == nil {
				t.Error("parsed")
			}
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func TestKnownIdentityAllocatesNothing(t *testing.T) {
	var c identities
	chain := []*x509.Certificate{{Raw: []byte("leaf"), RawSubject: []byte{0x30, 0}, SerialNumber: big.NewInt(1)}}
	if _, err := c.get(chain); err != nil {
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(100, func() {
		if _, err := c.get(chain); err != nil {
			t.Error(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}
