package wire_test

import (
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
