package compile_test

import (
	"maps"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/xds"
)

func TestUpgradesOfARoute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := host("a", "a", "a.example")
	h.GetRoutes()[0].GetRoute().UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{
		{UpgradeType: "CONNECT", ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{}},
		{UpgradeType: "websocket", Enabled: wrapperspb.Bool(false)},
	}
	r.must(r.send(xds.TypeRoute, nil, routes("80", h)))
	rule, ok := r.compiler.Routes("80").Match(request("a.example"), 0)
	if !ok {
		t.Fatal("no rule")
	}
	if got, want := rule.Tunnels.Upgrades, map[string]bool{"connect": true, "websocket": false}; !maps.Equal(got, want) || !rule.Tunnels.Terminate {
		t.Errorf("got %v, want %v; CONNECT ends here: %t", got, want, rule.Tunnels.Terminate)
	}
}
