package compile_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
)

// mentioned returns the cluster that the rule of a host leads to.
func mentioned(t *testing.T, r *rig, authority string) *upstream.Cluster {
	t.Helper()
	rule, ok := r.compiler.Routes("80").Match(request(authority), 0)
	if !ok {
		t.Fatalf("no route for %s", authority)
	}
	return rule.Clusters[0].Cluster
}

func TestClusterIsBuiltAtItsFirstUse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeCluster, nil, edsCluster("a"), edsCluster("b")))
	r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1", "10.0.0.2"), assignment("b")))
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a", "a.example"))))
	if n := len(r.compiler.Clusters()); n != 0 {
		t.Errorf("got %d clusters before the first request, want none", n)
	}
	c := mentioned(t, r, "a.example")
	if c.Spec() != nil {
		t.Error("a cluster that is only mentioned was built")
	}
	if err := c.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Endpoints().Len(); got != 2 {
		t.Errorf("got %d endpoints, want 2", got)
	}
	first := c.Endpoints().Endpoints()[0]
	r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1", "10.0.0.3")))
	if got := c.Endpoints().Endpoints()[0]; got != first {
		t.Error("an endpoint that stayed lost its identity")
	}
	r.must(r.send(xds.TypeCluster, []string{"a"}))
	if err := c.Ensure(t.Context()); !isNoCluster(err) {
		t.Errorf("removed cluster: got %v, want NC", err)
	}
	r.must(r.send(xds.TypeCluster, nil, edsCluster("a")))
	r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.9")))
	if err := mentioned(t, r, "a.example").Ensure(t.Context()); err != nil {
		t.Errorf("cluster that came back: %v", err)
	}
}

func isNoCluster(err error) bool {
	var fe *flow.Error
	return errors.As(err, &fe) && fe.Flag == flow.NoClusterFound
}

func TestUnknownClusterFailsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "nowhere", "*"))))
	if err := mentioned(t, r, "x").Ensure(t.Context()); !isNoCluster(err) {
		t.Errorf("got %v, want NC", err)
	}
}

func TestFirstUseWaitsForEndpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a", "*"))))
		r.must(r.send(xds.TypeCluster, nil, edsCluster("a")))
		c := mentioned(t, r, "x")
		done := make(chan error, 1)
		go func() { done <- c.Ensure(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1")))
		if err := <-done; err != nil {
			t.Errorf("after the endpoints came: %v", err)
		}
	})
}

func TestChangedClusterServesTheOldWayUntilItsEndpointsCome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a", "*"))))
	r.must(r.send(xds.TypeCluster, nil, edsCluster("a")))
	r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1")))
	c := mentioned(t, r, "x")
	if err := c.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	moved := edsCluster("a")
	moved.EdsClusterConfig.ServiceName = "elsewhere"
	r.must(r.send(xds.TypeCluster, nil, moved))
	if got := c.Endpoints().Endpoints()[0].Addr(); got != netip.MustParseAddrPort("10.0.0.1:80") {
		t.Errorf("while warming: got %v", got)
	}
	r.must(r.send(xds.TypeEndpoint, nil, assignment("elsewhere", "10.0.0.2")))
	if got := c.Endpoints().Endpoints()[0].Addr(); got != netip.MustParseAddrPort("10.0.0.2:80") {
		t.Errorf("after warming: got %v", got)
	}
}

func TestRouteTableFollowsPushes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a1", "a", "A.example"), host("any", "any", "*"))))
	table := r.compiler.Routes("80")
	match := func(authority string) *proxy.Rule {
		t.Helper()
		rule, ok := table.Match(request(authority), 0)
		if !ok {
			t.Fatalf("no route for %s", authority)
		}
		return rule
	}
	a, other := match("a.example:80"), match("else:1")
	if a.Name != "a" || other.Name != "any" || a.ConfigName != "/vs/a" {
		t.Fatalf("got %s and %s, %s", a.Name, other.Name, a.ConfigName)
	}
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a2", "a", "A.example"), host("any", "any", "*"))))
	if got := match("a.example:80").Clusters[0].Cluster.Name(); got != "a2" {
		t.Errorf("after the push: cluster %s, want a2", got)
	}
	if match("else:2") != other {
		t.Error("a virtual host that did not change was built again")
	}
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("b", "b", "b"))))
	if rule, ok := table.Match(request("a"), 0); ok {
		t.Errorf("a removed host still leads to %s", rule.Name)
	}
}

func TestUnchangedChainsKeepTheirIdentity(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := tcpChain(t, "one", "a", 1), tcpChain(t, "two", "a", 2)
	r.must(r.send(xds.TypeListener, nil, listener("l", 7000, false, one, two)))
	before := r.fill("l").Chains.Chains()
	r.must(r.send(xds.TypeListener, nil, listener("l", 7000, false, tcpChain(t, "one", "b", 1), two)))
	after := r.fill("l").Chains.Chains()
	if after[0] == before[0] {
		t.Error("the changed chain was not built again")
	}
	if after[1] != before[1] {
		t.Error("the unchanged chain lost its identity: its connections would be drained")
	}
}

// guarded puts a policy that cannot be enforced before the last filter of a chain.
func guarded(t *testing.T, fc *listenerv3.FilterChain) *listenerv3.FilterChain {
	t.Helper()
	fc.Filters = append([]*listenerv3.Filter{{
		Name: "envoy.filters.network.ext_authz", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, &extauthzv3.ExtAuthz{StatPrefix: "tcp."})},
	}}, fc.Filters...)
	return fc
}

func TestRefusedListenerLeavesTheOldOneServing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeListener, nil, listener("l", 7000, false, tcpChain(t, "one", "a", 1))))
	before := r.fill("l")
	err := r.send(xds.TypeListener, nil, listener("l", 7000, false, guarded(t, tcpChain(t, "one", "a", 1))))
	if err == nil || !strings.Contains(err.Error(), `listener "l"`) || !strings.Contains(err.Error(), "envoy.filters.network.ext_authz") {
		t.Fatalf("got %v, want a refusal that names listener and filter", err)
	}
	if r.fill("l") != before {
		t.Error("the old configuration does not serve any more")
	}
}

func TestRefusedListenerWithoutAnOlderOneRefusesConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.send(xds.TypeListener, nil, listener("l", 7000, false, guarded(t, tcpChain(t, "one", "a", 1)))); err == nil {
		t.Fatal("the policy was accepted")
	}
	l := r.listeners.For(netip.MustParseAddrPort("10.0.0.1:7000"))
	if l == nil {
		t.Fatal("nobody takes the address: the connection would find another way out")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.compiler.Fill(ctx, l); err == nil || !strings.Contains(err.Error(), "ext_authz") {
		t.Errorf("got %v, want the reason of the refusal", err)
	}
	r.must(r.send(xds.TypeListener, nil, listener("l", 7000, false, tcpChain(t, "one", "a", 1))))
	if r.fill("l") == nil {
		t.Error("the mended listener does not serve")
	}
	if err := r.send(xds.TypeListener, []string{"l"}); err != nil {
		t.Fatal(err)
	}
	if r.listeners.For(netip.MustParseAddrPort("10.0.0.1:7000")) != nil {
		t.Error("the removed listener still takes its address")
	}
}

func TestRouteConfigurationIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad := host("a", "a", "a")
	bad.Routes[0].Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: regex("(")}}
	err := r.send(xds.TypeRoute, nil, routes("80", bad), routes("81", host("b", "b", "b")))
	if err == nil || !strings.Contains(err.Error(), `"80"`) || !strings.Contains(err.Error(), "routes[0]") {
		t.Errorf("got %v, want a refusal that names the route", err)
	}
	if _, ok := r.compiler.Routes("81").Match(request("b"), 0); !ok {
		t.Error("the good resource of the same push was not taken over")
	}
	start := time.Now()
	if _, ok := r.compiler.Routes("80").Match(request("a"), 0); ok || time.Since(start) > 4*time.Second {
		t.Error("a refused route configuration has to answer at once, with nothing")
	}
}

func TestOlderOfTwoListenersKeepsTheAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.send(xds.TypeListener, nil, listener("z", 7000, false, tcpChain(t, "one", "a", 1))))
	batch := listener("a", 7000, false, tcpChain(t, "two", "a", 2))
	if err := r.apply(xds.TypeListener, batch); err == nil || !strings.Contains(err.Error(), `listener "a": address 0.0.0.0:7000 is that of listener "z"`) {
		t.Errorf("got %v, want an error that names both", err)
	}
	dst := netip.MustParseAddrPort("10.0.0.1:7000")
	if got := r.listeners.For(dst).Name(); got != "z" {
		t.Errorf("got listener %s, want the older one", got)
	}
	r.must(r.send(xds.TypeListener, []string{"z"}))
	if got := r.listeners.For(dst).Name(); got != "a" {
		t.Errorf("got listener %s, want the one that is left", got)
	}
}
