package wire_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/xds/wire"
)

const (
	clusterType  = "envoy.config.cluster.v3.Cluster"
	endpointType = "envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "envoy.config.listener.v3.Listener"
	routeType    = "envoy.config.route.v3.RouteConfiguration"
)

// sample is one resource that istiod sent.
type sample struct {
	name, typ string
	body      []byte
}

// samples reads the recorded responses.
func samples(tb testing.TB) []sample {
	tb.Helper()
	files, err := filepath.Glob("../testdata/*/*.pb")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no samples: %v", err)
	}
	var all []sample
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		var r discovery.DeltaDiscoveryResponse
		if err := proto.Unmarshal(b, &r); err != nil {
			tb.Fatal(err)
		}
		for _, x := range r.Resources {
			typ := strings.TrimPrefix(x.Resource.TypeUrl, "type.googleapis.com/")
			all = append(all, sample{filepath.Base(filepath.Dir(f)) + "/" + x.Name, typ, x.Resource.Value})
		}
	}
	return all
}

func walker(tb testing.TB, r wire.Rules) *wire.Walker {
	tb.Helper()
	c, err := wire.NewChecker(r)
	if err != nil {
		tb.Fatal(err)
	}
	return wire.NewWalker(c)
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func packed(tb testing.TB, m proto.Message) *anypb.Any {
	tb.Helper()
	a, err := anypb.New(m)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func TestWhatIstiodSendsIsValid(t *testing.T) {
	w := walker(t, wire.Rules{})
	for _, s := range samples(t) {
		if _, err := w.Walk(s.typ, s.body, true); err != nil && !strings.Contains(err.Error(), "unknown type") {
			t.Errorf("%s %s: %v", s.typ, s.name, err)
		} else if err != nil {
			t.Logf("%s: %v", s.name, err)
		}
	}
}

func TestReferences(t *testing.T) {
	ads := &core.ConfigSource{ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}
	w := walker(t, wire.Rules{})
	eds := func(service string) []byte {
		return marshal(t, &cluster.Cluster{
			Name: "a", ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
			EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: ads, ServiceName: service},
		})
	}
	l := marshal(t, &listener.Listener{Name: "l", FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{
		{Name: "h", ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed(t, &hcm.HttpConnectionManager{
			StatPrefix:     "x",
			RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{RouteConfigName: "80", ConfigSource: ads}},
			HttpFilters: []*hcm.HttpFilter{{Name: "wasm", ConfigType: &hcm.HttpFilter_ConfigDiscovery{
				ConfigDiscovery: &core.ExtensionConfigSource{ConfigSource: ads, TypeUrls: []string{"x/y"}},
			}}},
		})}},
	}}}})
	for _, tt := range []struct {
		name, typ string
		body      []byte
		want      []string
	}{
		{"service name of the cluster", clusterType, eds("s"), []string{"0 s"}},
		{"cluster name where no service is named", clusterType, eds(""), []string{"0 a"}},
		{"static cluster", clusterType, marshal(t, &cluster.Cluster{Name: "a"}), nil},
		{"routes and filters of a listener", listenerType, l, []string{"2 wasm", "1 80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := w.Walk(tt.typ, tt.body, false); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range w.Refs {
				got = append(got, string(rune('0'+r.Kind))+" "+string(r.Name))
			}
			if strings.Join(got, ",") != strings.Join(tt.want, ",") {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestInvalidResourcesNameTheField(t *testing.T) {
	w := walker(t, wire.Rules{Contexts: map[string]wire.Allow{
		"envoy.config.listener.v3.Filter.typed_config": {
			Types: map[string]wire.Verdict{
				"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": {},
			},
			Other: wire.Verdict{Action: wire.Reject, Reason: "is not supported yet"},
		},
	}})
	vhost := func(name string, domains ...string) *route.VirtualHost {
		return &route.VirtualHost{Name: name, Domains: domains}
	}
	regex := &route.VirtualHost{Name: "r", Domains: []string{"*"}, Routes: []*route.Route{{}, {
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: "a("}}},
		Action: &route.Route_Route{Route: &route.RouteAction{ClusterSpecifier: &route.RouteAction_WeightedClusters{
			WeightedClusters: &route.WeightedCluster{Clusters: []*route.WeightedCluster_ClusterWeight{
				{Name: "a", Weight: wrapperspb.UInt32(0)},
			}},
		}}},
	}}}
	addr := func(a string, port uint32) proto.Message {
		return &endpoint.ClusterLoadAssignment{ClusterName: "c", Endpoints: []*endpoint.LocalityLbEndpoints{{
			LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
					Address: a, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
				}}},
			}}}},
		}}}
	}
	const at = "endpoints[0].lb_endpoints[0].endpoint.address.socket_address."
	for _, tt := range []struct {
		name, typ string
		msg       proto.Message
		want      []string
	}{
		{
			"a domain twice", routeType, &route.RouteConfiguration{Name: "x", VirtualHosts: []*route.VirtualHost{vhost("a", "A.b"), vhost("b", "a.B")}},
			[]string{`domain "A.b" is given twice`},
		},
		{
			"two catch-alls", routeType, &route.RouteConfiguration{Name: "x", VirtualHosts: []*route.VirtualHost{vhost("a", "*"), vhost("b", "*")}},
			[]string{`domain "*" is given twice`},
		},
		{
			"no domain", routeType, &route.RouteConfiguration{VirtualHosts: []*route.VirtualHost{vhost("a")}},
			[]string{"virtual_hosts[0].domains[0]: must be set"},
		},
		{
			"bad regex and weights", routeType, &route.RouteConfiguration{VirtualHosts: []*route.VirtualHost{regex}},
			[]string{
				"virtual_hosts[0].routes[1].match.safe_regex.regex: error parsing regexp",
				"virtual_hosts[0].routes[1].route.weighted_clusters: the sum of weights",
			},
		},
		{"host name as address", endpointType, addr("db.example", 1), []string{at + `address: "db.example" is not an IP address`}},
		{"port", endpointType, addr("10.0.0.1", 70000), []string{at + "port_value: 70000 is out of range"}},
		{"IPv6", endpointType, addr("fd00::1", 1), nil},
		{"name", clusterType, &cluster.Cluster{}, []string{"name: must be set"}},
		{"filter", listenerType, &listener.Listener{FilterChains: []*listener.FilterChain{{}, {Filters: []*listener.Filter{
			{Name: "ok", ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed(t, &hcm.HttpConnectionManager{
				StatPrefix: "x", RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &route.RouteConfiguration{}},
			})}},
			{Name: "envoy.filters.network.rbac", ConfigType: &listener.Filter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "x/y.Z"}}},
		}}}}, []string{"filter_chains[1].filters[1]: envoy.filters.network.rbac is not supported yet"}},
		{"filter without configuration", listenerType, &listener.Listener{FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{
			{Name: "envoy.filters.network.echo"},
		}}}}, []string{"filter_chains[0].filters[0]: envoy.filters.network.echo is not supported yet"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.Walk(tt.typ, marshal(t, tt.msg), false)
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestOptionalAndDisabledFiltersAreIgnored(t *testing.T) {
	w := walker(t, wire.Rules{Other: wire.Allow{Other: wire.Verdict{Action: wire.Reject}}})
	h := marshal(t, &core.TypedExtensionConfig{Name: "n", TypedConfig: packed(t, &route.FilterConfig{
		Disabled: true, Config: packed(t, &matcher.RegexMatcher{Regex: "("}),
	})})
	if _, err := w.Walk("envoy.config.core.v3.TypedExtensionConfig", h, false); err != nil {
		t.Errorf("disabled: %v", err)
	}
	h = marshal(t, &core.TypedExtensionConfig{Name: "n", TypedConfig: packed(t, &route.FilterConfig{Config: packed(t, &route.FilterConfig{})})})
	if _, err := w.Walk("envoy.config.core.v3.TypedExtensionConfig", h, false); err != nil {
		t.Errorf("empty: %v", err)
	}
	h = marshal(t, &core.TypedExtensionConfig{Name: "n", TypedConfig: packed(t, &hcm.Rds{})})
	if _, err := w.Walk("envoy.config.core.v3.TypedExtensionConfig", h, false); err == nil || !strings.Contains(err.Error(), "n is not supported") {
		t.Errorf("got %v, want a rejection that names n", err)
	}
}

func TestUnknownContextIsAnError(t *testing.T) {
	if _, err := wire.NewChecker(wire.Rules{Contexts: map[string]wire.Allow{"envoy.config.listener.v3.Filter.typed": {}}}); err == nil {
		t.Error("a misspelt context was accepted")
	}
}
