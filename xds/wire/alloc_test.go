//go:build !race

package wire_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

func TestWalkDoesNotAllocate(t *testing.T) {
	w := walker(t, wire.Rules{})
	for _, s := range samples(t) {
		if _, err := w.Walk(s.typ, s.body, true); err != nil {
			continue
		}
		if got := testing.AllocsPerRun(10, func() { _, _ = w.Walk(s.typ, s.body, true) }); got > 0 {
			t.Errorf("%s: %v allocations", s.name, got)
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	all := samples(b)
	size := int64(0)
	for _, s := range all {
		size += int64(len(s.body))
	}
	for _, hashed := range []bool{false, true} {
		name := "validate"
		if hashed {
			name = "validate and hash"
		}
		b.Run(name, func(b *testing.B) {
			w := walker(b, wire.Rules{})
			b.ReportAllocs()
			b.SetBytes(size)
			for b.Loop() {
				for _, s := range all {
					_, _ = w.Walk(s.typ, s.body, hashed)
				}
			}
		})
	}
	b.Run("proto.Unmarshal without the content of Any", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(size)
		for b.Loop() {
			for _, s := range all {
				mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(s.typ))
				if err != nil {
					b.Fatal(err)
				}
				if err := proto.Unmarshal(s.body, mt.New().Interface()); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
