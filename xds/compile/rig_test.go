package compile_test

import (
	"context"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// named is any resource that can be pushed.
type named interface {
	proto.Message
	GetName() string
}

// send pushes resources as one delta response does, and returns what was refused.
func (r *rig) send(typeURL string, removed []string, resources ...proto.Message) error {
	r.t.Helper()
	batch, err := r.store.Begin(typeURL)
	if err != nil {
		r.t.Fatal(err)
	}
	var refused refusals
	for _, m := range resources {
		body, err := proto.Marshal(m)
		if err != nil {
			r.t.Fatal(err)
		}
		name := nameOf(m)
		if err := batch.Add([]byte(name), body); err != nil {
			r.compiler.Refused(typeURL, name, body, err)
			refused = append(refused, err.Error())
		}
	}
	for _, name := range removed {
		batch.Remove([]byte(name))
	}
	change, err := batch.Commit("1")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.compiler.Apply(change); err != nil {
		r.t.Fatal(err)
	}
	if len(refused) > 0 {
		return refused
	}
	return nil
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case named:
		return m.GetName()
	case *endpointv3.ClusterLoadAssignment:
		return m.GetClusterName()
	default:
		return ""
	}
}

// apply pushes one resource and returns what the compiler says of the whole push.
func (r *rig) apply(typeURL string, m proto.Message) error {
	r.t.Helper()
	batch, err := r.store.Begin(typeURL)
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := proto.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	r.must(batch.Add([]byte(nameOf(m)), body))
	change, err := batch.Commit("1")
	r.must(err)
	return r.compiler.Apply(change)
}

// must fails the test where a push is refused.
func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func packed(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func address(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func edsCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{ServiceName: name},
	}
}

func assignment(name string, ips ...string) *endpointv3.ClusterLoadAssignment {
	group := &endpointv3.LocalityLbEndpoints{}
	for _, ip := range ips {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(ip, 80)}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

func tcpChain(t testing.TB, name, cluster string, port uint32) *listenerv3.FilterChain {
	t.Helper()
	return &listenerv3.FilterChain{
		Name:             name,
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(port)},
		Filters: []*listenerv3.Filter{{Name: "envoy.filters.network.tcp_proxy", ConfigType: &listenerv3.Filter_TypedConfig{
			TypedConfig: packed(t, &tcpv3.TcpProxy{StatPrefix: name, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster}}),
		}}},
	}
}

func httpChain(t testing.TB, routes string) *listenerv3.FilterChain {
	t.Helper()
	return &listenerv3.FilterChain{Name: "http", Filters: []*listenerv3.Filter{{
		Name: "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, &hcmv3.HttpConnectionManager{
			StatPrefix: "http",
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
				RouteConfigName: routes, ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}},
			}},
			HttpFilters: []*hcmv3.HttpFilter{{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, &routerv3.Router{})}}},
		})},
	}}}
}

func listener(name string, port uint32, bind bool, chains ...*listenerv3.FilterChain) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: name, Address: address("0.0.0.0", port), BindToPort: wrapperspb.Bool(bind), FilterChains: chains,
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
	}
}

func routes(name string, hosts ...*routev3.VirtualHost) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: hosts}
}

func host(name, cluster string, domains ...string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: domains, Routes: []*routev3.Route{{
		Name:   name,
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}},
		// Two entries, so that their order in the bytes can differ.
		Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			"istio": {Fields: map[string]*structpb.Value{"config": structpb.NewStringValue("/vs/" + name)}}, "other": {},
		}},
	}}}
}

// fill builds a listener as its first connection does.
func (r *rig) fill(name string) *proxy.ListenerSpec {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for _, l := range r.compiler.Listeners() {
		if l.Name() != name {
			continue
		}
		if err := r.compiler.Fill(ctx, l); err != nil {
			r.t.Fatalf("listener %s: %v", name, err)
		}
		return l.Spec()
	}
	r.t.Fatalf("no listener %s", name)
	return nil
}

func request(authority string) *httpmsg.Request {
	return &httpmsg.Request{Method: "GET", Scheme: "http", Authority: authority, Path: "/", Body: httpmsg.NoBody}
}

func regex(text string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: text} }
