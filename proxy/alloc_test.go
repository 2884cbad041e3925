//go:build !race

package proxy_test

import (
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy"
)

func TestChainMatchDoesNotAllocate(t *testing.T) {
	set, err := proxy.NewChainSet([]*proxy.Chain{
		chain("a", proxy.Criteria{DestinationPort: 443, DestinationPrefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ServerNames: []string{"*.a.com"}, TransportProtocol: "tls", ApplicationProtocols: []string{"h2"}}),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := facts("10.1.1.1:443", "www.b.a.com", "tls", "istio", "h2")
	if set.Match(f) == nil {
		t.Fatal("no match")
	}
	if n := testing.AllocsPerRun(100, func() { set.Match(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
