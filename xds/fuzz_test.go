package xds_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/xds"
)

// FuzzStore holds the store against a map, with resources of any content.
func FuzzStore(f *testing.F) {
	for _, r := range sample(f, "web/RDS").Resources {
		f.Add([]byte(r.Name), r.Resource.Value, "productpage")
	}
	f.Add([]byte("x"), []byte{0x12, 0x05, 0x0a, 0x01, 'n', 0x12, 0x00}, "")
	f.Fuzz(func(t *testing.T, name, body []byte, host string) {
		s := newStore(t)
		for _, typ := range []string{xds.TypeRoute, xds.TypeCluster} {
			b, err := s.Begin(typ)
			if err != nil {
				t.Fatal(err)
			}
			accepted := b.Add(name, body) == nil
			_ = b.Add([]byte("other"), body)
			if _, err := b.Commit(""); err != nil {
				t.Fatal(err)
			}
			got, ok := s.Raw(typ, string(name))
			if accepted && (!ok || string(got) != string(body)) {
				t.Fatalf("%s: stored %x, got %x", typ, body, got)
			}
			if again := applyOne(t, s, typ, name, body); accepted && !again.Empty() {
				t.Fatalf("%s: the same push changed %v", typ, again)
			}
		}
		if ref, ok := s.Lookup(string(name), host); ok {
			if _, ok := s.VHost(nil, ref); !ok {
				t.Fatal("a virtual host was found and is not there")
			}
		}
	})
}

// applyOne commits one resource, valid or not.
func applyOne(t *testing.T, s *xds.Store, typ string, name, body []byte) xds.Change {
	t.Helper()
	b, err := s.Begin(typ)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Add(name, body)
	c, err := b.Commit("")
	if err != nil {
		t.Fatal(err)
	}
	return c
}
