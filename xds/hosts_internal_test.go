package xds

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

func TestCollidingHashesDoNotMisroute(t *testing.T) {
	c, err := wire.NewChecker(wire.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	// Two virtual hosts share the hash of "a.example", as if their domains collided.
	h := c.HashString("a.example")
	rh := &routeHosts{any: -1, exact: []domain{{h, 0}, {h, 1}}}
	for _, want := range []int{0, 1, -1} {
		got := rh.search(c, "a.example", func(i int, before, after string) bool { return i == want && before+after == "a.example" })
		if got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

func TestNonMinimalLengthIsNotCanonical(t *testing.T) {
	if !canonical([]byte{2<<3 | 2, 1, 'x'}) {
		t.Error("a minimal length was refused")
	}
	if canonical([]byte{2<<3 | 2, 0x81, 0, 'x'}) {
		t.Error("a long length was accepted")
	}
}

func TestTableFindsWhatWasInserted(t *testing.T) {
	var tb table
	same := func(key uint64) func(*record) bool { return func(r *record) bool { return r.key == key } }
	for key := range uint64(5000) {
		tb.insert(record{key: key * 8, state: used})
		if key >= 100 {
			tb.remove(tb.find((key-100)*8, same((key-100)*8)))
		}
	}
	for key := range uint64(5000) {
		if got, want := tb.find(key*8, same(key*8)) >= 0, key >= 4900; got != want {
			t.Fatalf("%d: found %v, want %v", key, got, want)
		}
	}
	if len(tb.slots) > 1024 || len(tb.records) > 200 {
		t.Errorf("%d slots and %d records for 100 keys", len(tb.slots), len(tb.records))
	}
}
