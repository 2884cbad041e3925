package compile_test

import (
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/xds"
)

// Endpoints that cannot be used are no reason to give a cluster up for good, whatever
// they are called.
func TestClusterRecoversFromEndpointsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	fed := edsCluster("a")
	fed.EdsClusterConfig.ServiceName = "elsewhere"
	fed.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRequests: wrapperspb.UInt32(7)}}}
	useless := assignment("elsewhere", "10.0.0.2")
	useless.GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().Address = &corev3.Address{
		Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
			AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "x"},
		}},
	}
	for name, before := range map[string]*clusterv3.Cluster{"at its first use": nil, "at a change": edsCluster("a")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a", "*"))))
			c := mentioned(t, r, "x")
			if before != nil {
				r.must(r.send(xds.TypeCluster, nil, before))
				r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1")))
				r.must(c.Ensure(t.Context()))
			}
			r.must(r.send(xds.TypeEndpoint, nil, useless))
			r.must(r.send(xds.TypeCluster, nil, fed))
			if err := c.Ensure(t.Context()); (err == nil) != (before != nil) {
				t.Fatalf("with the endpoints that cannot be used: %v", err)
			}
			r.must(r.send(xds.TypeEndpoint, nil, assignment("elsewhere", "10.0.0.2")))
			r.must(c.Ensure(t.Context()))
			if got, want := c.Endpoints().Endpoints()[0].Addr(), netip.MustParseAddrPort("10.0.0.2:80"); got != want {
				t.Errorf("endpoint is %s, want %s", got, want)
			}
			if got := c.Spec().Limits.Requests; got != 7 {
				t.Errorf("the limit is %d, want that of the changed cluster", got)
			}
		})
	}
}
