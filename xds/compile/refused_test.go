package compile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	netextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/outrigger-mesh/outrigger/xds"
)

// spoiled is a configuration with one thing in it that has to be refused.
type spoiled struct {
	// of is the field, or the type, that docs/xds.md calls refused, or partly
	// supported.
	of string
	// want is a part of the refusal: the field's path, or that of its owner.
	want string

	// One of these spoils what would be accepted otherwise.
	listener func(t *testing.T, l *listenerv3.Listener)
	manager  func(t *testing.T, m *hcmv3.HttpConnectionManager)
	tcp      func(m *tcpv3.TcpProxy)
	server   func(t *testing.T, m *tlsv3.DownstreamTlsContext)
	cluster  func(t *testing.T, m *clusterv3.Cluster)
	route    func(t *testing.T, m *routev3.Route)
}

const (
	hcmName  = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	tcpName  = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	tlsNames = "envoy.extensions.transport_sockets.tls.v3."
)

// refusing compiles the configuration, uses it, and returns what was said.
func (c *spoiled) refusing(t *testing.T) string {
	t.Helper()
	r := newRig(t)
	switch {
	case c.cluster != nil:
		m := edsCluster("a")
		c.cluster(t, m)
		r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a", "a.example"))))
		err := r.send(xds.TypeCluster, nil, m)
		r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1")))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		used := mentioned(t, r, "a.example").Ensure(ctx)
		if used == nil {
			t.Error("the cluster can be used")
		}
		return text(errors.Join(err, used)) + logged(r)
	case c.route != nil:
		h := host("a", "a", "a.example")
		c.route(t, h.GetRoutes()[0])
		err := r.send(xds.TypeRoute, nil, routes("80", h))
		if rule, ok := r.compiler.Routes("80").Match(request("a.example"), 0); ok {
			t.Errorf("the route can be used: %v", rule)
		}
		return text(err) + logged(r)
	default:
		l := listener("l", 15006, true, tcpChain(t, "tcp", "a", 80))
		c.spoil(t, l)
		err := r.send(xds.TypeListener, nil, l)
		for _, live := range r.compiler.Listeners() {
			if r.compiler.Fill(t.Context(), live) == nil {
				t.Error("the listener serves")
			}
		}
		return text(err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error() + "\n"
}

// logged is the log without the quoting of text within text.
func logged(r *rig) string { return strings.ReplaceAll(r.logged.String(), `\"`, `"`) }

// spoil changes the part of a listener that the case is about.
func (c *spoiled) spoil(t *testing.T, l *listenerv3.Listener) {
	t.Helper()
	chain := l.GetFilterChains()[0]
	switch {
	case c.listener != nil:
		c.listener(t, l)
	case c.manager != nil:
		l.FilterChains = []*listenerv3.FilterChain{httpChain(t, "80")}
		m := new(hcmv3.HttpConnectionManager)
		respoil(t, l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), m, func() { c.manager(t, m) })
	case c.tcp != nil:
		m := new(tcpv3.TcpProxy)
		respoil(t, chain.GetFilters()[0].GetTypedConfig(), m, func() { c.tcp(m) })
	case c.server != nil:
		m := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "default"}},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext:         new(tlsv3.CertificateValidationContext),
					ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ROOTCA"},
				},
			},
		}}
		c.server(t, m)
		chain.TransportSocket = socket(t, "envoy.transport_sockets.tls", m)
	}
}

// respoil changes the message within an Any.
func respoil(t *testing.T, a *anypb.Any, m proto.Message, change func()) {
	t.Helper()
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	change()
	if err := a.MarshalFrom(m); err != nil {
		t.Fatal(err)
	}
}

func socket(t *testing.T, name string, m proto.Message) *corev3.TransportSocket {
	t.Helper()
	return &corev3.TransportSocket{Name: name, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(t, m)}}
}

// discovery is a reference to configuration that would come by ECDS.
func discovery() *corev3.ExtensionConfigSource {
	return &corev3.ExtensionConfigSource{
		ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}},
		TypeUrls:     []string{"type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"},
	}
}

// guard puts an HTTP filter in front of the router.
func guard(name string, m proto.Message) func(*testing.T, *hcmv3.HttpConnectionManager) {
	return func(t *testing.T, h *hcmv3.HttpConnectionManager) {
		t.Helper()
		f := &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, m)}}
		h.HttpFilters = append([]*hcmv3.HttpFilter{f}, h.HttpFilters...)
	}
}

// gate puts a network filter in front of the TCP proxy.
func gate(name string, m proto.Message) func(*testing.T, *listenerv3.Listener) {
	return func(t *testing.T, l *listenerv3.Listener) {
		t.Helper()
		chain := l.GetFilterChains()[0]
		f := &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, m)}}
		chain.Filters = append([]*listenerv3.Filter{f}, chain.Filters...)
	}
}

// match spoils the chain match of the listener's chain.
func match(change func(*listenerv3.FilterChainMatch)) func(*testing.T, *listenerv3.Listener) {
	return func(_ *testing.T, l *listenerv3.Listener) { change(l.GetFilterChains()[0].GetFilterChainMatch()) }
}

// trust spoils the static part of what a peer's certificate has to satisfy.
func trust(change func(*tlsv3.CertificateValidationContext)) func(*testing.T, *tlsv3.DownstreamTlsContext) {
	return func(_ *testing.T, m *tlsv3.DownstreamTlsContext) {
		change(m.GetCommonTlsContext().GetCombinedValidationContext().GetDefaultValidationContext())
	}
}

// common spoils the common TLS context.
func common(change func(*tlsv3.CommonTlsContext)) func(*testing.T, *tlsv3.DownstreamTlsContext) {
	return func(_ *testing.T, m *tlsv3.DownstreamTlsContext) { change(m.GetCommonTlsContext()) }
}

const upgradeNames = "envoy.config.route.v3.RouteAction.UpgradeConfig"

// connecting is an upgrade of a route that ends CONNECT.
func connecting(kind string, c *routev3.RouteAction_UpgradeConfig_ConnectConfig) []*routev3.RouteAction_UpgradeConfig {
	return []*routev3.RouteAction_UpgradeConfig{{UpgradeType: kind, ConnectConfig: c}}
}

// forwarding spoils the action of the route.
func forwarding(change func(*routev3.RouteAction)) func(*testing.T, *routev3.Route) {
	return func(_ *testing.T, m *routev3.Route) { change(m.GetRoute()) }
}

func refusedListeners() []spoiled {
	inline := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "x"}}
	return []spoiled{
		{of: "envoy.config.core.v3.Address.pipe", want: "address: only socket addresses", listener: func(_ *testing.T, l *listenerv3.Listener) {
			l.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x"}}}
		}},
		{of: "envoy.config.core.v3.Address.envoy_internal_address", want: "address: only socket addresses", listener: func(_ *testing.T, l *listenerv3.Listener) {
			l.Address = &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
				AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "x"},
			}}}
		}},
		{of: "envoy.config.core.v3.SocketAddress.protocol", want: "address: protocol UDP", listener: func(_ *testing.T, l *listenerv3.Listener) {
			l.GetAddress().GetSocketAddress().Protocol = corev3.SocketAddress_UDP
		}},
		{of: "envoy.config.core.v3.SocketAddress.named_port", want: "address: port", listener: func(_ *testing.T, l *listenerv3.Listener) {
			l.GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_NamedPort{NamedPort: "http"}
		}},
		{of: "envoy.config.listener.v3.Listener.filter_chain_matcher", want: "filter_chain_matcher: is not supported", listener: func(t *testing.T, l *listenerv3.Listener) {
			t.Helper()
			l.FilterChainMatcher = &xdsmatcherv3.Matcher{OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
				Action: &xdscorev3.TypedExtensionConfig{Name: "x", TypedConfig: packed(t, wrapperspb.String("x"))},
			}}}
		}},
		{of: "envoy.config.listener.v3.ListenerFilter.typed_config", want: "listener_filters[0]: envoy.filters.listener.original_src", listener: func(t *testing.T, l *listenerv3.Listener) {
			t.Helper()
			l.ListenerFilters = []*listenerv3.ListenerFilter{{Name: "envoy.filters.listener.original_src", ConfigType: &listenerv3.ListenerFilter_TypedConfig{
				TypedConfig: packed(t, &originalsrcv3.OriginalSrc{Mark: 1337}),
			}}}
		}},
		{of: "envoy.config.listener.v3.ListenerFilter.config_discovery", want: "listener_filters[0]: x", listener: func(_ *testing.T, l *listenerv3.Listener) {
			l.ListenerFilters = []*listenerv3.ListenerFilter{{Name: "x", ConfigType: &listenerv3.ListenerFilter_ConfigDiscovery{ConfigDiscovery: discovery()}}}
		}},
		{of: "envoy.config.listener.v3.FilterChainMatch.address_suffix", want: "filter_chains[0].filter_chain_match: address_suffix", listener: match(func(m *listenerv3.FilterChainMatch) { m.AddressSuffix = "10.0.0.0" })},
		{of: "envoy.config.listener.v3.FilterChainMatch.suffix_len", want: "filter_chains[0].filter_chain_match: address_suffix", listener: match(func(m *listenerv3.FilterChainMatch) { m.SuffixLen = wrapperspb.UInt32(8) })},
		{of: "envoy.config.listener.v3.Filter.config_discovery", want: "filter_chains[0].filters[0]", listener: func(_ *testing.T, l *listenerv3.Listener) {
			f := &listenerv3.Filter{Name: "x", ConfigType: &listenerv3.Filter_ConfigDiscovery{ConfigDiscovery: discovery()}}
			chain := l.GetFilterChains()[0]
			chain.Filters = append([]*listenerv3.Filter{f}, chain.Filters...)
		}},
		{of: "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz", want: "filter_chains[0].filters[0]: envoy.filters.network.ext_authz", listener: gate("envoy.filters.network.ext_authz", &netextauthzv3.ExtAuthz{StatPrefix: "x"})},
		{of: "envoy.config.listener.v3.Filter.typed_config", want: "filter_chains[0].filters[0]: unheard", listener: gate("unheard", wrapperspb.String("x"))},
		{of: "envoy.config.core.v3.TransportSocket.typed_config", want: "filter_chains[0].transport_socket", listener: func(t *testing.T, l *listenerv3.Listener) {
			t.Helper()
			l.GetFilterChains()[0].TransportSocket = socket(t, "unheard", wrapperspb.String("x"))
		}},
		{of: tcpName + ".TunnelingConfig.hostname", want: "filters[0].typed_config.tunneling_config.hostname", tcp: func(m *tcpv3.TcpProxy) {
			m.TunnelingConfig = &tcpv3.TcpProxy_TunnelingConfig{Hostname: "%REQUESTED_SERVER_NAME%:443"}
		}},
		{of: tcpName + ".TunnelingConfig.headers_to_add", want: "tunneling_config.headers_to_add[0]: command operators", tcp: func(m *tcpv3.TcpProxy) {
			h := &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-a", Value: "%START_TIME%"}}
			m.TunnelingConfig = &tcpv3.TcpProxy_TunnelingConfig{Hostname: "x:1", HeadersToAdd: []*corev3.HeaderValueOption{h}}
		}},
		{of: tlsNames + "DownstreamTlsContext.require_sni", want: "require_sni", server: func(_ *testing.T, m *tlsv3.DownstreamTlsContext) { m.RequireSni = wrapperspb.Bool(true) }},
		{of: tlsNames + "CommonTlsContext.tls_certificates", want: "common_tls_context.tls_certificates", server: common(func(m *tlsv3.CommonTlsContext) {
			m.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: inline}}
		})},
		{of: tlsNames + "CommonTlsContext.tls_certificate_sds_secret_configs", want: "tls_certificate_sds_secret_configs: more than one", server: common(func(m *tlsv3.CommonTlsContext) {
			m.TlsCertificateSdsSecretConfigs = append(m.TlsCertificateSdsSecretConfigs, &tlsv3.SdsSecretConfig{Name: "file-cert:a~b"})
		})},
		{of: tlsNames + "SdsSecretConfig.name", want: `tls_certificate_sds_secret_configs[0]: secret "kubernetes://x"`, server: common(func(m *tlsv3.CommonTlsContext) {
			m.TlsCertificateSdsSecretConfigs[0].Name = "kubernetes://x"
		})},
		{of: tlsNames + "TlsParameters.compliance_policies", want: "tls_params.compliance_policies", server: common(func(m *tlsv3.CommonTlsContext) {
			m.TlsParams = &tlsv3.TlsParameters{CompliancePolicies: []tlsv3.TlsParameters_CompliancePolicy{tlsv3.TlsParameters_FIPS_202205}}
		})},
		{of: tlsNames + "CertificateValidationContext.trusted_ca", want: "default_validation_context.trusted_ca", server: trust(func(m *tlsv3.CertificateValidationContext) { m.TrustedCa = inline })},
		{of: tlsNames + "CertificateValidationContext.crl", want: "default_validation_context.crl", server: trust(func(m *tlsv3.CertificateValidationContext) { m.Crl = inline })},
		{of: tlsNames + "CertificateValidationContext.ca_certificate_provider_instance", want: "default_validation_context.ca_certificate_provider_instance", server: trust(func(m *tlsv3.CertificateValidationContext) {
			m.CaCertificateProviderInstance = &tlsv3.CertificateProviderPluginInstance{InstanceName: "x"}
		})},
		{of: tlsNames + "CertificateValidationContext.verify_certificate_spki", want: "default_validation_context.verify_certificate_spki", server: trust(func(m *tlsv3.CertificateValidationContext) {
			m.VerifyCertificateSpki = []string{"NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A="}
		})},
		{of: tlsNames + "CertificateValidationContext.verify_certificate_hash", want: "default_validation_context.verify_certificate_hash", server: trust(func(m *tlsv3.CertificateValidationContext) {
			m.VerifyCertificateHash = []string{strings.Repeat("ab", 32)}
		})},
		{of: tlsNames + "CertificateValidationContext.require_signed_certificate_timestamp", want: "default_validation_context.require_signed_certificate_timestamp", server: trust(func(m *tlsv3.CertificateValidationContext) {
			m.RequireSignedCertificateTimestamp = wrapperspb.Bool(true)
		})},
		{of: tlsNames + "CertificateValidationContext.max_verify_depth", want: "default_validation_context.max_verify_depth", server: trust(func(m *tlsv3.CertificateValidationContext) { m.MaxVerifyDepth = wrapperspb.UInt32(1) })},
		{of: tlsNames + "CertificateValidationContext.custom_validator_config", want: "default_validation_context.custom_validator_config", server: trust(func(m *tlsv3.CertificateValidationContext) {
			m.CustomValidatorConfig = &corev3.TypedExtensionConfig{Name: "x", TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.StringValue"}}
		})},
		{of: tlsNames + "SubjectAltNameMatcher.san_type", want: "match_typed_subject_alt_names[0].san_type", server: trust(func(m *tlsv3.CertificateValidationContext) {
			m.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_OTHER_NAME, Oid: "1.2",
				Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x"}},
			}}
		})},
	}
}

// limit is a local rate limit with a field that is not supported.
func limit(field string, m *localv3.LocalRateLimit) spoiled {
	return spoiled{
		of: "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit." + field, want: "typed_config." + field,
		manager: func(t *testing.T, h *hcmv3.HttpConnectionManager) {
			t.Helper()
			m.StatPrefix = "x"
			guard("envoy.filters.http.local_ratelimit", m)(t, h)
		},
	}
}

func refusedManagers() []spoiled {
	scoped := &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name: "x", ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
			Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
				Name: "x", ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{},
			}},
		}}},
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: discovery().GetConfigSource()}},
	}}
	return []spoiled{
		{of: hcmName + ".scoped_routes", want: "filters[0].typed_config: route specifier", manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) { m.RouteSpecifier = scoped }},
		{of: hcmName + ".strip_matching_host_port", want: "filters[0].typed_config: strip_", manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) { m.StripMatchingHostPort = true }},
		{of: hcmName + ".strip_any_host_port", want: "filters[0].typed_config: strip_", manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) {
			m.StripPortMode = &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true}
		}},
		{of: hcmName + ".strip_trailing_host_dot", want: "filters[0].typed_config: strip_", manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) { m.StripTrailingHostDot = true }},
		{of: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.codec_type", want: "codec_type", manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) {
			m.CodecType = hcmv3.HttpConnectionManager_HTTP3
		}},
		{of: "envoy.config.core.v3.Http2ProtocolOptions.custom_settings_parameters", want: "custom_settings_parameters", manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) {
			m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{CustomSettingsParameters: []*corev3.Http2ProtocolOptions_SettingsParameter{
				{Identifier: wrapperspb.UInt32(9), Value: wrapperspb.UInt32(1)},
			}}
		}},
		{of: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter.config_discovery", want: "http_filters[0]", manager: func(_ *testing.T, m *hcmv3.HttpConnectionManager) {
			d := discovery()
			d.TypeUrls = []string{"type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"}
			f := &hcmv3.HttpFilter{Name: "x", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: d}}
			m.HttpFilters = append([]*hcmv3.HttpFilter{f}, m.HttpFilters...)
		}},
		limit("descriptors", &localv3.LocalRateLimit{Descriptors: []*ratelimitv3.LocalRateLimitDescriptor{{
			Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "k"}}, TokenBucket: &typev3.TokenBucket{MaxTokens: 1, FillInterval: durationpb.New(time.Second)},
		}}}),
		limit("rate_limits", &localv3.LocalRateLimit{RateLimits: []*routev3.RateLimit{{Actions: []*routev3.RateLimit_Action{{
			ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: new(routev3.RateLimit_Action_RemoteAddress)},
		}}}}}),
		limit("local_rate_limit_per_downstream_connection", &localv3.LocalRateLimit{LocalRateLimitPerDownstreamConnection: true}),
		limit("local_cluster_rate_limit", &localv3.LocalRateLimit{LocalClusterRateLimit: new(ratelimitv3.LocalClusterRateLimit)}),
		{of: "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", want: "http_filters[0]: envoy.filters.http.jwt_authn", manager: guard("envoy.filters.http.jwt_authn", new(jwtv3.JwtAuthentication))},
		{of: "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", want: "http_filters[0]: envoy.filters.http.ext_authz", manager: guard("envoy.filters.http.ext_authz", new(extauthzv3.ExtAuthz))},
		{of: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter.typed_config", want: "http_filters[0]: unheard", manager: guard("unheard", wrapperspb.String("x"))},
		{of: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter.is_optional", want: "http_filters[0]: filter envoy.filters.http.ext_authz", manager: func(t *testing.T, m *hcmv3.HttpConnectionManager) {
			t.Helper()
			guard("envoy.filters.http.ext_authz", new(extauthzv3.ExtAuthz))(t, m)
			m.HttpFilters[0].IsOptional = true
		}},
		{of: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter.disabled", want: "http_filters[0]: filter envoy.filters.http.ext_authz", manager: func(t *testing.T, m *hcmv3.HttpConnectionManager) {
			t.Helper()
			guard("envoy.filters.http.ext_authz", new(extauthzv3.ExtAuthz))(t, m)
			m.HttpFilters[0].Disabled = true
		}},
	}
}

func refusedClusters() []spoiled {
	const name = "envoy.config.cluster.v3.Cluster."
	dns := func(kind clusterv3.Cluster_DiscoveryType) func(*testing.T, *clusterv3.Cluster) {
		return func(_ *testing.T, m *clusterv3.Cluster) {
			m.ClusterDiscoveryType, m.EdsClusterConfig = &clusterv3.Cluster_Type{Type: kind}, nil
			m.LoadAssignment = assignment("a", "10.0.0.1")
		}
	}
	return []spoiled{
		{of: name + "type", want: "load_assignment: a LOGICAL_DNS cluster has one endpoint, not 2", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			dns(clusterv3.Cluster_LOGICAL_DNS)(t, m)
			m.LoadAssignment = assignment("a", "10.0.0.1", "10.0.0.2")
		}},
		{of: "envoy.config.core.v3.SocketAddress.resolver_name", want: "resolver_name is not supported", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			dns(clusterv3.Cluster_STRICT_DNS)(t, m)
			m.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().ResolverName = "x"
		}},
		{of: name + "cluster_type", want: "cluster_type", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			m.EdsClusterConfig = nil
			m.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
				Name: "envoy.clusters.dynamic_forward_proxy", TypedConfig: packed(t, wrapperspb.String("x")),
			}}
		}},
		{of: name + "load_balancing_policy", want: "load_balancing_policy", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			m.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
				TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: "x", TypedConfig: packed(t, wrapperspb.String("x"))},
			}}}
		}},
		{of: "envoy.config.core.v3.TransportSocket.typed_config", want: "transport_socket", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			m.TransportSocket = socket(t, "envoy.transport_sockets.upstream_proxy_protocol", wrapperspb.String("x"))
		}},
		{of: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.explicit_http_config", want: "http3_protocol_options", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			m.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(t, &httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http3ProtocolOptions{Http3ProtocolOptions: &corev3.Http3ProtocolOptions{}},
				}},
			})}
		}},
		{of: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.upstream_http_protocol_options", want: "auto_sni", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			m.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(t, &httpv3.HttpProtocolOptions{
				UpstreamHttpProtocolOptions: &corev3.UpstreamHttpProtocolOptions{AutoSni: true},
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
				}},
			})}
		}},
		{of: tlsNames + "CertificateValidationContext.match_subject_alt_names", want: "transport_socket.common_tls_context: names are to be checked", cluster: func(t *testing.T, m *clusterv3.Cluster) {
			t.Helper()
			m.TransportSocket = socket(t, "envoy.transport_sockets.tls", &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
					MatchSubjectAltNames: []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x"}}},
				}},
			}})
		}},
	}
}

func refusedRoutes() []spoiled {
	const (
		matchName  = "envoy.config.route.v3.RouteMatch."
		actionName = "envoy.config.route.v3.RouteAction."
	)
	matching := func(change func(*routev3.RouteMatch)) func(*testing.T, *routev3.Route) {
		return func(_ *testing.T, m *routev3.Route) { change(m.GetMatch()) }
	}
	body := func(d *corev3.DataSource) func(*testing.T, *routev3.Route) {
		return func(_ *testing.T, m *routev3.Route) {
			m.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200, Body: d}}
		}
	}
	return []spoiled{
		{of: matchName + "path_match_policy", want: "routes[0].match: path matcher", route: matching(func(m *routev3.RouteMatch) {
			m.PathSpecifier = &routev3.RouteMatch_PathMatchPolicy{PathMatchPolicy: &corev3.TypedExtensionConfig{
				Name: "x", TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.StringValue"},
			}}
		})},
		{of: matchName + "tls_context", want: "routes[0].match.tls_context", route: matching(func(m *routev3.RouteMatch) {
			m.TlsContext = &routev3.RouteMatch_TlsContextMatchOptions{Presented: wrapperspb.Bool(true)}
		})},
		{of: matchName + "dynamic_metadata", want: "routes[0].match.dynamic_metadata", route: matching(func(m *routev3.RouteMatch) {
			m.DynamicMetadata = []*matcherv3.MetadataMatcher{{
				Filter: "x", Path: []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: "x"}}},
				Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}},
			}}
		})},
		{of: matchName + "filter_state", want: "routes[0].match.filter_state", route: matching(func(m *routev3.RouteMatch) {
			m.FilterState = []*matcherv3.FilterStateMatcher{{Key: "x", Matcher: &matcherv3.FilterStateMatcher_StringMatch{
				StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x"}},
			}}}
		})},
		{of: actionName + "cluster_header", want: "routes[0].route: cluster specifier", route: forwarding(func(m *routev3.RouteAction) {
			m.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"}
		})},
		{of: actionName + "cluster_specifier_plugin", want: "routes[0].route: cluster specifier", route: forwarding(func(m *routev3.RouteAction) {
			m.ClusterSpecifier = &routev3.RouteAction_ClusterSpecifierPlugin{ClusterSpecifierPlugin: "x"}
		})},
		{of: actionName + "inline_cluster_specifier_plugin", want: "routes[0].route: cluster specifier", route: forwarding(func(m *routev3.RouteAction) {
			m.ClusterSpecifier = &routev3.RouteAction_InlineClusterSpecifierPlugin{InlineClusterSpecifierPlugin: &routev3.ClusterSpecifierPlugin{
				Extension: &corev3.TypedExtensionConfig{Name: "x", TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.StringValue"}},
			}}
		})},
		{of: "envoy.config.route.v3.WeightedCluster.ClusterWeight.cluster_header", want: "weighted_clusters.clusters[0].cluster_header", route: forwarding(func(m *routev3.RouteAction) {
			m.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
				Clusters: []*routev3.WeightedCluster_ClusterWeight{{ClusterHeader: "x", Weight: wrapperspb.UInt32(1)}},
			}}
		})},
		{of: "envoy.config.route.v3.RetryPolicy.RetryBackOff.max_interval", want: "routes[0].route.retry_policy.retry_back_off", route: forwarding(func(m *routev3.RouteAction) {
			m.RetryPolicy = &routev3.RetryPolicy{RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
				BaseInterval: durationpb.New(2 * time.Second), MaxInterval: durationpb.New(time.Second),
			}}
		})},
		{of: "envoy.config.route.v3.Route.filter_action", want: "routes[0]: action", route: func(_ *testing.T, m *routev3.Route) {
			m.Action = &routev3.Route_FilterAction{FilterAction: new(routev3.FilterAction)}
		}},
		{of: upgradeNames + ".upgrade_type", want: "routes[0].route.upgrade_configs[1].upgrade_type: \"websocket\" is there twice", route: forwarding(func(m *routev3.RouteAction) {
			m.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "WebSocket"}}
		})},
		{of: upgradeNames + ".connect_config", want: `upgrade_configs[0].connect_config: goes with CONNECT only, not with "websocket"`, route: forwarding(func(m *routev3.RouteAction) {
			m.UpgradeConfigs = connecting("websocket", &routev3.RouteAction_UpgradeConfig_ConnectConfig{})
		})},
		{of: upgradeNames + ".ConnectConfig.proxy_protocol_config", want: "upgrade_configs[0].connect_config.proxy_protocol_config", route: forwarding(func(m *routev3.RouteAction) {
			m.UpgradeConfigs = connecting("CONNECT", &routev3.RouteAction_UpgradeConfig_ConnectConfig{ProxyProtocolConfig: &corev3.ProxyProtocolConfig{}})
		})},
		{of: upgradeNames + ".ConnectConfig.allow_post", want: "upgrade_configs[0].connect_config.allow_post", route: forwarding(func(m *routev3.RouteAction) {
			m.UpgradeConfigs = connecting("CONNECT", &routev3.RouteAction_UpgradeConfig_ConnectConfig{AllowPost: true})
		})},
		{of: "envoy.config.route.v3.Route.non_forwarding_action", want: "routes[0]: action", route: func(_ *testing.T, m *routev3.Route) {
			m.Action = &routev3.Route_NonForwardingAction{NonForwardingAction: new(routev3.NonForwardingAction)}
		}},
		{of: "envoy.config.route.v3.Route.typed_per_filter_config", want: "routes[0].typed_per_filter_config[0]: envoy.filters.http.ext_authz", route: func(t *testing.T, m *routev3.Route) {
			t.Helper()
			m.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.ext_authz": packed(t, new(extauthzv3.ExtAuthzPerRoute))}
		}},
		{of: "envoy.config.route.v3.RouteAction.RequestMirrorPolicy.cluster_header", want: "routes[0].route.request_mirror_policies[0].cluster_header", route: func(_ *testing.T, m *routev3.Route) {
			m.GetRoute().RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{ClusterHeader: "x-cluster"}}
		}},
		{of: "envoy.config.route.v3.RedirectAction.port_redirect", want: "routes[0].redirect.port_redirect", route: func(_ *testing.T, m *routev3.Route) {
			m.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{PortRedirect: 70_000}}
		}},
		{of: "envoy.config.route.v3.DirectResponseAction.status", want: "routes[0].direct_response.status", route: func(_ *testing.T, m *routev3.Route) {
			m.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 100}}
		}},
		{of: "envoy.config.core.v3.DataSource.filename", want: "routes[0].direct_response.body", route: body(&corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "/x"}})},
		{of: "envoy.config.core.v3.DataSource.environment_variable", want: "routes[0].direct_response.body", route: body(&corev3.DataSource{
			Specifier: &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: "X"},
		})},
		{of: "envoy.config.core.v3.HeaderValue.key", want: `routes[0].headers_to_add[0]: header "host"`, route: func(_ *testing.T, m *routev3.Route) {
			m.RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "Host", Value: "x"}}}
		}},
	}
}

func everySpoiled() []spoiled {
	var all []spoiled
	for _, group := range [][]spoiled{refusedListeners(), refusedPolicies(), refusedManagers(), refusedClusters(), refusedRoutes()} {
		all = append(all, group...)
	}
	return all
}

func TestWhatTheDocumentCallsRefusedIsRefused(t *testing.T) {
	t.Parallel()
	s := documented(t)
	untried := make(map[string]bool)
	for name, state := range s.fields {
		untried[name] = state == stateRefused
	}
	for name, state := range s.types {
		untried[name] = state == stateRefused
	}
	for _, c := range everySpoiled() {
		delete(untried, c.of)
		switch state := s.fields[c.of] + s.types[c.of]; state {
		case stateRefused, statePartly, stateYes:
		default:
			t.Errorf("docs/xds.md says %q of %s, which can be refused", state, c.of)
		}
		t.Run(c.of, func(t *testing.T) {
			t.Parallel()
			if got := c.refusing(t); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want a refusal with %q", got, c.want)
			}
		})
	}
	for name, refused := range untried {
		if refused {
			t.Errorf("docs/xds.md calls %s refused, and no case here shows it", name)
		}
	}
}

// The other tests mean something only if what they spoil would be accepted.
func TestWhatIsSpoiledWouldBeAccepted(t *testing.T) {
	t.Parallel()
	for _, c := range []spoiled{
		{of: "tcp", tcp: func(*tcpv3.TcpProxy) {}},
		{of: "tunnel", tcp: func(m *tcpv3.TcpProxy) {
			m.TunnelingConfig = &tcpv3.TcpProxy_TunnelingConfig{Hostname: "x.example:443", UsePost: true, PostPath: "/a"}
		}},
		{of: "http", manager: func(*testing.T, *hcmv3.HttpConnectionManager) {}},
		{of: "tls", server: func(*testing.T, *tlsv3.DownstreamTlsContext) {}},
		{of: "optional", manager: func(t *testing.T, m *hcmv3.HttpConnectionManager) {
			t.Helper()
			guard("tuning", new(routerv3.Router))(t, m)
			m.HttpFilters[0].GetTypedConfig().TypeUrl = "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor"
			m.HttpFilters[0].IsOptional = true
		}},
	} {
		t.Run(c.of, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			l := listener("l", 15006, true, tcpChain(t, "tcp", "a", 80))
			c.spoil(t, l)
			r.must(r.send(xds.TypeListener, nil, l))
			r.fill("l")
		})
	}
}
