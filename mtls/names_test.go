package mtls

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"strings"
	"testing"
)

func TestSANMatcher(t *testing.T) {
	names := sans{
		uris: []string{"spiffe://cluster.local/ns/shop/sa/web"},
		dns:  []string{"*.example.com", "spiffe://cluster.local/ns/admin/sa/root"},
		ips:  []string{"10.0.0.1"},
	}
	for _, tc := range []struct {
		name string
		m    SANMatcher
		want bool
	}{
		{"exact URI", SANMatcher{Value: "spiffe://cluster.local/ns/shop/sa/web"}, true},
		{"case counts", SANMatcher{Value: "spiffe://cluster.local/ns/shop/sa/WEB"}, false},
		{"case ignored", SANMatcher{Value: "spiffe://cluster.local/ns/shop/sa/WEB", IgnoreCase: true}, true},
		{"prefix", SANMatcher{Kind: SANPrefix, Value: "spiffe://cluster.local/"}, true},
		{"prefix of another domain", SANMatcher{Kind: SANPrefix, Value: "spiffe://cluster.loca/"}, false},
		{"suffix", SANMatcher{Kind: SANSuffix, Value: "/sa/web"}, true},
		{"contains", SANMatcher{Kind: SANContains, Value: "/ns/shop/"}, true},
		{"function", SANMatcher{Kind: SANFunc, Func: func(s string) bool { return strings.HasSuffix(s, "web") }}, true},
		{"DNS name that poses as URI", SANMatcher{Value: "spiffe://cluster.local/ns/admin/sa/root"}, false},
		{"wildcard covers one label", SANMatcher{Value: "API.example.com"}, true},
		{"wildcard covers not two", SANMatcher{Value: "a.b.example.com"}, false},
		{"wildcard covers not none", SANMatcher{Value: "example.com"}, false},
		{"wildcard literally", SANMatcher{Value: "*.example.com"}, true},
		{"address", SANMatcher{Value: "10.0.0.1"}, true},
		{"other type", SANMatcher{Type: DNSSAN, Value: "10.0.0.1"}, false},
		{"URI only", SANMatcher{Type: URISAN, Value: "api.example.com"}, false},
	} {
		if got := tc.m.match(&names); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestNamesWithForbiddenCharactersAreRefused(t *testing.T) {
	for _, name := range []string{"spiffe://a/\x00b", "a b", "a\nb", "\x7f", "é"} {
		var s sans
		if err := s.add(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte(name)}); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestSPIFFEGrammar(t *testing.T) {
	for id, want := range map[string]bool{
		"spiffe://cluster.local/ns/shop/sa/web":         true,
		"spiffe://Corp.Example/ns/shop/sa/a.b_c-D":      true,
		"SPIFFE://cluster.local/ns/shop/sa/web":         false,
		"spiffe://cluster.local":                        false,
		"spiffe://cluster.local/":                       false,
		"spiffe:///ns/shop":                             false,
		"spiffe://cluster.local/ns//sa":                 false,
		"spiffe://cluster.local/ns/shop/":               false,
		"spiffe://cluster.local/ns/./sa":                false,
		"spiffe://cluster.local/ns/../sa":               false,
		"spiffe://cluster.local:80/ns":                  false,
		"spiffe://user@cluster.local/ns":                false,
		"spiffe://cluster.local/ns#x":                   false,
		"spiffe://cluster.local/" + longPath(maxSPIFFE): false,
		"https://cluster.local/ns/shop/sa/web":          false,
		"":                                              false,
	} {
		if err := checkSPIFFE(id); (err == nil) != want {
			t.Errorf("%.60q: %v", id, err)
		}
	}
}

func longPath(n int) string { return strings.Repeat("a", n) }

func TestIdentitiesAreBounded(t *testing.T) {
	var c identities
	kept := sha256.Sum256([]byte("kept"))
	c.put(kept, &peer{})
	for i := range 10 * maxIdentities {
		var sum [sha256.Size]byte
		binary.BigEndian.PutUint64(sum[:], uint64(i))
		c.put(sum, &peer{})
		if c.find(kept) == nil {
			t.Fatalf("forgot an identity in use after %d others", i)
		}
		if got := len(c.young) + len(c.old); got > maxIdentities {
			t.Fatalf("%d identities, want at most %d", got, maxIdentities)
		}
	}
}
