package wire_test

import (
	"testing"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// shuffled marshals until the bytes differ; the encoder ranges over maps in random order.
func shuffled(t *testing.T, typ string, body []byte) []byte {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(typ))
	if err != nil {
		t.Fatal(err)
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(body, m); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if b := marshal(t, m); string(b) != string(body) {
			return b
		}
	}
	return body
}

func TestEqualMessagesHashAlikeWhateverTheirBytes(t *testing.T) {
	w := walker(t, wire.Rules{})
	differing := 0
	for _, s := range samples(t) {
		other := shuffled(t, s.typ, s.body)
		want, err := w.Walk(s.typ, s.body, true)
		if err != nil {
			continue
		}
		got, err := w.Walk(s.typ, other, true)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: equal messages, hashes %x and %x", s.name, got, want)
		}
		if string(other) != string(s.body) {
			differing++
		}
	}
	t.Logf("%d resources came as different bytes", differing)
	if differing == 0 {
		t.Error("no resource came as different bytes: the test proves nothing")
	}
}

func TestDifferentMessagesHashDifferently(t *testing.T) {
	w := walker(t, wire.Rules{})
	host := func(name string, domains ...string) *route.VirtualHost {
		return &route.VirtualHost{Name: name, Domains: domains}
	}
	seen := map[uint64]string{}
	for _, tt := range []struct {
		name string
		msg  *route.RouteConfiguration
	}{
		{"empty", &route.RouteConfiguration{}},
		{"name", &route.RouteConfiguration{Name: "a"}},
		{"another field with the same text", &route.RouteConfiguration{InternalOnlyHeaders: []string{"a"}}},
		{"a list in order", &route.RouteConfiguration{InternalOnlyHeaders: []string{"a", "b"}}},
		{"a list in another order", &route.RouteConfiguration{InternalOnlyHeaders: []string{"b", "a"}}},
		{"two lists", &route.RouteConfiguration{InternalOnlyHeaders: []string{"a"}, ResponseHeadersToRemove: []string{"b"}}},
		{"two lists exchanged", &route.RouteConfiguration{InternalOnlyHeaders: []string{"b"}, ResponseHeadersToRemove: []string{"a"}}},
		{"hosts", &route.RouteConfiguration{VirtualHosts: []*route.VirtualHost{host("x", "1"), host("y", "2")}}},
		{"hosts exchanged", &route.RouteConfiguration{VirtualHosts: []*route.VirtualHost{host("y", "2"), host("x", "1")}}},
		{"domains exchanged", &route.RouteConfiguration{VirtualHosts: []*route.VirtualHost{host("x", "2"), host("y", "1")}}},
	} {
		h, err := w.Walk(routeType, marshal(t, tt.msg), true)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s: the same hash", tt.name, other)
		}
		seen[h] = tt.name
	}
}
