package mtls

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"strings"
	"testing"
)

func FuzzSubjectAltNames(f *testing.F) {
	for _, names := range [][]asn1.RawValue{
		{{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte("spiffe://cluster.local/ns/shop/sa/web")}},
		{{Class: asn1.ClassContextSpecific, Tag: tagDNS, Bytes: []byte("*.example.com")}, {Class: asn1.ClassContextSpecific, Tag: tagIP, Bytes: []byte{10, 0, 0, 1}}},
		{{Class: asn1.ClassContextSpecific, Tag: tagEmail, Bytes: []byte("a@b\x00c")}},
	} {
		b, err := asn1.Marshal(names)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := sansOf(&x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: b}}})
		if err != nil {
			return
		}
		for _, names := range [][]string{got.uris, got.dns, got.emails, got.ips} {
			for _, name := range names {
				if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
					t.Fatalf("let %q through", name)
				}
			}
		}
	})
}

func FuzzSPIFFE(f *testing.F) {
	for _, id := range []string{"spiffe://cluster.local/ns/shop/sa/web", "spiffe://a/b?c#d", "spiffe://a:1/%62", "spiffe://u@a/..", "spiffe:///x"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if checkSPIFFE(id) != nil {
			return
		}
		u, err := url.Parse(id)
		if err != nil {
			t.Fatalf("accepted %q: %v", id, err)
		}
		if u.String() != id || u.Scheme != "spiffe" || u.Host == "" || u.Port() != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.JoinPath().Path != u.Path {
			t.Fatalf("accepted %q, which reads as %+v", id, u)
		}
	})
}
