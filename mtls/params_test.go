package mtls_test

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/mtls"
)

func TestParseCiphers(t *testing.T) {
	got, err := mtls.ParseCiphers([]string{
		"ECDHE-RSA-AES256-GCM-SHA384", "AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256",
		"[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	})
	want := []uint16{
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	if got, err := mtls.ParseCiphers(nil); got != nil || err != nil {
		t.Errorf("no names: %x, %v", got, err)
	}
	for _, bad := range []string{"ROT13", "[AES128-SHA", "AES128-SHA|", "", "ALL"} {
		if _, err := mtls.ParseCiphers([]string{"AES128-SHA", bad}); err == nil || !strings.Contains(err.Error(), "unknown cipher suite") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for name, want := range map[string]uint16{
		"": 0, "TLS_AUTO": 0, "TLSv1_0": tls.VersionTLS10, "TLSv1_1": tls.VersionTLS11,
		"TLSv1_2": tls.VersionTLS12, "TLSV1_3": tls.VersionTLS13,
	} {
		if got, err := mtls.ParseVersion(name); err != nil || got != want {
			t.Errorf("%q: %x, %v", name, got, err)
		}
	}
	if _, err := mtls.ParseVersion("SSLv3"); err == nil {
		t.Error("SSLv3 was accepted")
	}
}

func TestParseCurves(t *testing.T) {
	got, err := mtls.ParseCurves([]string{"X25519MLKEM768", "X25519", "P-256", "secp384r1"})
	if want := []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := mtls.ParseCurves([]string{"P-1"}); err == nil {
		t.Error("P-1 was accepted")
	}
}

func TestVersionsThatExcludeEachOtherAreRejected(t *testing.T) {
	_, err := mtls.NewServer(mtls.ServerSpec{Cert: mtls.NewSecret("default"), Params: mtls.Params{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12}})
	if err == nil {
		t.Error("minimum above maximum was accepted")
	}
}
