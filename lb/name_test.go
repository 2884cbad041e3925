package lb_test

import (
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/lb"
)

func TestANamedEndpointStaysWhenItsAddressChanges(t *testing.T) {
	at := func(addr string) []lb.EndpointSpec {
		return []lb.EndpointSpec{{Name: "db.example.com:5432", Addr: netip.MustParseAddrPort(addr)}}
	}
	before := lb.NewSet(nil, at("192.0.2.1:5432"), lb.Policy{})
	after := lb.NewSet(before, at("192.0.2.2:5432"), lb.Policy{})
	if before.Endpoints()[0] != after.Endpoints()[0] {
		t.Error("the endpoint is another one")
	}
	if got := after.Endpoints()[0].Addr().String(); got != "192.0.2.2:5432" {
		t.Errorf("address %s", got)
	}
}

func TestEndpointsWithoutAddressesAreToldApartByName(t *testing.T) {
	set := lb.NewSet(nil, []lb.EndpointSpec{{Name: "/run/a"}, {Name: "/run/b"}, {Name: "/run/a"}}, lb.Policy{})
	if set.Len() != 2 {
		t.Errorf("got %d endpoints, want 2", set.Len())
	}
}
