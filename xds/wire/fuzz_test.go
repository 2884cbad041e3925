package wire_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// FuzzWalk holds the walk against the real decoder: it never accepts what that refuses.
func FuzzWalk(f *testing.F) {
	types := []string{clusterType, endpointType, listenerType, routeType, "envoy.config.core.v3.TypedExtensionConfig"}
	for _, s := range samples(f) {
		for i, typ := range types {
			if typ == s.typ && len(s.body) < 2<<10 { // large seeds make the fuzzer slow
				f.Add(uint8(i), s.body)
			}
		}
	}
	f.Add(uint8(0), []byte{0x0a, 0x01})
	f.Add(uint8(1), []byte{0x0b, 0x0c})
	w := walker(f, wire.Rules{})
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		typ := types[int(i)%len(types)]
		h, err := w.Walk(typ, b, true)
		if err != nil {
			return
		}
		mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(typ))
		if err != nil {
			t.Fatal(err)
		}
		m := mt.New().Interface()
		if err := proto.Unmarshal(b, m); err != nil {
			t.Fatalf("accepted what the decoder refuses: %v", err)
		}
		if again, err := w.Walk(typ, b, true); err != nil || again != h {
			t.Fatalf("second walk: %x %v, first %x", again, err, h)
		}
	})
}

// TestDamagedResources damages what istiod sent, in all types, and holds the walk against the real decoder.
func TestDamagedResources(t *testing.T) {
	w := walker(t, wire.Rules{})
	rnd := rand.New(rand.NewPCG(3, 4))
	accepted, stricter, damaged := 0, 0, 0
	for _, s := range samples(t) {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(s.typ))
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			b := slices.Clone(s.body)
			switch rnd.IntN(3) {
			case 0:
				b = b[:rnd.IntN(len(b))]
			case 1:
				b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			case 2:
				i := rnd.IntN(len(b))
				b = slices.Delete(b, i, min(len(b), i+1+rnd.IntN(4)))
			}
			damaged++
			_, walked := w.Walk(s.typ, b, true)
			decoded := proto.Unmarshal(b, mt.New().Interface())
			switch {
			case walked == nil && decoded != nil:
				t.Fatalf("%s: accepted what the decoder refuses: %v", s.name, decoded)
			case walked == nil:
				accepted++
			case decoded == nil:
				stricter++
			}
		}
	}
	t.Logf("%d damaged resources: %d still valid, %d refused that the decoder takes", damaged, accepted, stricter)
}
