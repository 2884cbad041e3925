package wire_test

import (
	"fmt"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// TestRememberedEndpointsAreJudgedAsNewOnes walks a large assignment again and again.
func TestRememberedEndpointsAreJudgedAsNewOnes(t *testing.T) {
	t.Parallel()
	const typ = "envoy.config.endpoint.v3.ClusterLoadAssignment"
	large := func(edit func(i int, a *core.SocketAddress)) []byte {
		group := &endpoint.LocalityLbEndpoints{}
		for i := range 2000 {
			a := &core.SocketAddress{Address: fmt.Sprintf("10.0.%d.%d", i/250, i%250), PortSpecifier: &core.SocketAddress_PortValue{PortValue: 80}}
			edit(i, a)
			group.LbEndpoints = append(group.LbEndpoints, &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{
				Endpoint: &endpoint.Endpoint{Hostname: strings.Repeat("h", 20), Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: a}}},
			}})
		}
		b, err := proto.Marshal(&endpoint.ClusterLoadAssignment{ClusterName: "c", Endpoints: []*endpoint.LocalityLbEndpoints{group}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	checker, err := wire.NewChecker(wire.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	same := large(func(int, *core.SocketAddress) {})
	other := large(func(i int, a *core.SocketAddress) {
		if i == 1234 {
			a.PortSpecifier = &core.SocketAddress_PortValue{PortValue: 81}
		}
	})
	bad := large(func(i int, a *core.SocketAddress) {
		if i == 1234 {
			a.PortSpecifier = &core.SocketAddress_PortValue{PortValue: 70000}
		}
	})
	w := wire.NewWalker(checker)
	for range 3 {
		for _, body := range [][]byte{same, other} {
			fresh, err := wire.NewWalker(checker).Walk(typ, body, true)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := w.Walk(typ, body, true); err != nil || got != fresh {
				t.Errorf("got %x, %v; want %x", got, err, fresh)
			}
		}
		if _, err := w.Walk(typ, bad, true); err == nil || !strings.Contains(err.Error(), "lb_endpoints[1234]") {
			t.Errorf("got %v, want a refusal of lb_endpoints[1234]", err)
		}
	}
}
