package compile

import (
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/upstream"
)

const (
	httpOptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// clusterSpec compiles a cluster. Transport sockets whose bytes are known keep
// their client, so that the connections made with it stay in use.
func (c *Compiler) clusterSpec(s scope, m *clusterv3.Cluster, known sockets) *upstream.Spec {
	spec := &upstream.Spec{
		Name:            m.GetName(),
		Kind:            clusterKind(s, m),
		Policy:          c.policy(s, m),
		ConnectTimeout:  duration(m.GetConnectTimeout(), upstream.DefaultConnectTimeout),
		Limits:          limits(s.in("circuit_breakers"), m.GetCircuitBreakers(), corev3.RoutingPriority_DEFAULT),
		HighLimits:      limits(s.in("circuit_breakers"), m.GetCircuitBreakers(), corev3.RoutingPriority_HIGH),
		HTTP:            c.httpOptions(s, m),
		KeepAlive:       keepAlive(m.GetUpstreamConnectionOptions().GetTcpKeepalive()),
		CleanupInterval: duration(m.GetCleanupInterval(), upstream.DefaultCleanupInterval),
		Stat:            strings.TrimSuffix(m.GetAltStatName(), ";"),
	}
	spec.Default.TLS = known.handshaker(c, s.in("transport_socket"), m.GetTransportSocket())
	for i, tm := range m.GetTransportSocketMatches() {
		ts := s.at("transport_socket_matches", i)
		match := make(map[string]string)
		for k, v := range tm.GetMatch().GetFields() {
			match[k] = v.GetStringValue()
		}
		spec.Sockets = append(spec.Sockets, upstream.SocketMatch{
			Name: tm.GetName(), Match: match,
			TLS: known.handshaker(c, ts.in("transport_socket"), tm.GetTransportSocket()),
		})
	}
	if m.GetLbSubsetConfig() != nil {
		s.in("lb_subset_config").fail("is not supported")
	}
	if m.GetTransportSocketMatcher() != nil {
		s.in("transport_socket_matcher").fail("is not supported")
	}
	spec.Outliers = outliers(s.in("outlier_detection"), m.GetOutlierDetection())
	spec.Source = bindAddresses(s.in("upstream_bind_config"), m.GetUpstreamBindConfig())
	istioMetadata(spec, m.GetMetadata().GetFilterMetadata()["istio"])
	return spec
}

func clusterKind(s scope, m *clusterv3.Cluster) upstream.Kind {
	if m.GetClusterType() != nil {
		s.in("cluster_type").fail("%q is not supported", m.GetClusterType().GetName())
		return upstream.Static
	}
	switch m.GetType() {
	case clusterv3.Cluster_STATIC:
		return upstream.Static
	case clusterv3.Cluster_EDS:
		return upstream.EDS
	case clusterv3.Cluster_ORIGINAL_DST:
		return upstream.OriginalDst
	case clusterv3.Cluster_STRICT_DNS:
		return upstream.StrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		return upstream.LogicalDNS
	}
	return upstream.Static
}

func (c *Compiler) httpOptions(s scope, m *clusterv3.Cluster) upstream.HTTPOptions {
	out := upstream.HTTPOptions{IdleTimeout: upstream.DefaultIdleTimeout}
	a := m.GetTypedExtensionProtocolOptions()[httpOptionsName]
	if a == nil {
		legacyHTTPOptions(s, m, &out)
		return out
	}
	s = s.in("typed_extension_protocol_options")
	var o httpv3.HttpProtocolOptions
	if !s.check(unpack(a, &o)) {
		return out
	}
	common := o.GetCommonHttpProtocolOptions()
	out.IdleTimeout = duration(common.GetIdleTimeout(), upstream.DefaultIdleTimeout)
	if out.IdleTimeout == 0 {
		out.IdleTimeout = -1 // Envoy: an explicit zero turns the timeout off
	}
	out.MaxRequestsPerConn = number(common.GetMaxRequestsPerConnection(), 0)
	out.MaxConnDuration = duration(common.GetMaxConnectionDuration(), 0)
	if names := o.GetUpstreamHttpProtocolOptions(); names.GetAutoSni() || names.GetAutoSanValidation() {
		// The name to be checked comes with each request; checking none is no option.
		s.in("upstream_http_protocol_options").fail("auto_sni and auto_san_validation are not supported: name sni and subjectAltNames")
	}
	out.MaxStream = duration(common.GetMaxStreamDuration(), 0)
	out.IsError = errorMatch(s.in("outlier_detection.error_matcher"), o.GetOutlierDetection().GetErrorMatcher())
	upstreamProtocol(s, &o, &out)
	out.HTTP2 = out.HTTP2.WithHeads(upstreamHeads(common))
	return out
}

// upstreamProtocol compiles what is spoken towards an upstream.
func upstreamProtocol(s scope, o *httpv3.HttpProtocolOptions, out *upstream.HTTPOptions) {
	common := o.GetCommonHttpProtocolOptions()
	switch p := o.GetUpstreamProtocolOptions().(type) {
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		out.Protocol = upstream.AsDownstream
		s = s.in("use_downstream_protocol_config")
		out.HTTP2 = http2Settings(s, p.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions())
		out.HTTP1 = upstreamHTTP1(s.in("http_protocol_options"), common, p.UseDownstreamProtocolConfig.GetHttpProtocolOptions())
	case *httpv3.HttpProtocolOptions_AutoConfig:
		out.Protocol = upstream.Negotiated
		s = s.in("auto_config")
		out.HTTP2 = http2Settings(s, p.AutoConfig.GetHttp2ProtocolOptions())
		out.HTTP1 = upstreamHTTP1(s.in("http_protocol_options"), common, p.AutoConfig.GetHttpProtocolOptions())
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		s = s.in("explicit_http_config")
		out.HTTP1 = upstreamHTTP1(s.in("http_protocol_options"), common, p.ExplicitHttpConfig.GetHttpProtocolOptions())
		switch e := p.ExplicitHttpConfig.GetProtocolConfig().(type) {
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions:
			out.Protocol = upstream.HTTP2
			out.HTTP2 = http2Settings(s, e.Http2ProtocolOptions)
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http3ProtocolOptions:
			s.in("http3_protocol_options").fail("is not supported")
		}
	}
}

// legacyHTTPOptions reads the fields of the cluster itself, which count where it has
// no options by type.
func legacyHTTPOptions(s scope, m *clusterv3.Cluster, out *upstream.HTTPOptions) {
	out.HTTP1 = upstreamHTTP1(s.in("http_protocol_options"), m.GetCommonHttpProtocolOptions(), m.GetHttpProtocolOptions())
	out.HTTP2 = http2Settings(s, m.GetHttp2ProtocolOptions()) // deprecated, and still in use by EnvoyFilters
	out.HTTP2 = out.HTTP2.WithHeads(upstreamHeads(m.GetCommonHttpProtocolOptions()))
	out.MaxStream = duration(m.GetCommonHttpProtocolOptions().GetMaxStreamDuration(), 0)
	switch {
	case m.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL:
		out.Protocol = upstream.AsDownstream
	case m.GetHttp2ProtocolOptions() != nil:
		out.Protocol = upstream.HTTP2
	}
}

func keepAlive(k *corev3.TcpKeepalive) upstream.KeepAlive {
	if k == nil {
		return upstream.KeepAlive{}
	}
	seconds := func(n uint32) time.Duration { return time.Duration(n) * time.Second }
	return upstream.KeepAlive{
		Enabled: true, Time: seconds(number(k.GetKeepaliveTime(), 0)),
		Interval: seconds(number(k.GetKeepaliveInterval(), 0)), Probes: number(k.GetKeepaliveProbes(), 0),
	}
}

func bindAddresses(s scope, b *corev3.BindConfig) []netip.Addr {
	if b == nil {
		return nil
	}
	var out []netip.Addr
	add := func(s scope, sa *corev3.SocketAddress) {
		if ap, err := addrPort(sa); s.check(err) {
			out = append(out, ap.Addr())
		}
	}
	if b.GetSourceAddress() != nil {
		add(s.in("source_address"), b.GetSourceAddress())
	}
	for i, extra := range b.GetExtraSourceAddresses() {
		add(s.at("extra_source_addresses", i).in("address"), extra.GetAddress())
	}
	return out
}

// istioMetadata reads what istiod tells about a cluster beside its configuration.
func istioMetadata(spec *upstream.Spec, m *structpb.Struct) {
	spec.ALPNOverride = m.GetFields()["alpn_override"].GetStringValue() != "false"
	for _, v := range m.GetFields()["services"].GetListValue().GetValues() {
		f := v.GetStructValue().GetFields()
		spec.Services = append(spec.Services, upstream.Service{
			Host: f["host"].GetStringValue(), Name: f["name"].GetStringValue(), Namespace: f["namespace"].GetStringValue(),
		})
	}
}
