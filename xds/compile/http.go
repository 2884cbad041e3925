package compile

import (
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	alpnv2 "istio.io/api/envoy/config/filter/http/alpn/v2alpha1"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

const (
	hcmType           = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	routerType        = "envoy.extensions.filters.http.router.v3.Router"
	alpnType          = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
	peerMetadataType  = "io.istio.http.peer_metadata.Config"
	defaultServer     = "envoy"
	defaultStreamIdle = 5 * time.Minute
	defaultDrain      = 5 * time.Second
)

// http compiles an HTTP connection manager. Its routes are either inline or the
// live table of a route configuration's name.
func (c *Compiler) http(s scope, dir flow.Direction, m *hcmv3.HttpConnectionManager) *proxy.HTTP {
	spec := proxy.HTTPSpec{
		StatPrefix:       strings.TrimSuffix(m.GetStatPrefix(), ";"),
		Direction:        dir,
		Mirrors:          c.mirrors,
		Path:             pathSpec(m),
		Request:          requestSpec(s, m),
		Response:         responseSpec(m),
		Timeouts:         timeouts(m),
		AcceptHTTP10:     m.GetHttpProtocolOptions().GetAcceptHttp_10(),
		DefaultHost:      m.GetHttpProtocolOptions().GetDefaultHostForHttp_10(),
		Proxy100Continue: m.GetProxy_100Continue(),
		Trailers:         m.GetHttpProtocolOptions().GetEnableTrailers(),
		Decorate:         m.GetTracing() != nil,
		Codec:            codec(s, m),
		HTTP2:            http2Settings(s, m.GetHttp2ProtocolOptions()).WithHeads(downstreamHeads(m)),
		HTTP1:            downstreamHTTP1(s, m),
		MaxRequests:      number(m.GetCommonHttpProtocolOptions().GetMaxRequestsPerConnection(), 0),
	}
	var flows flow.Observer
	if c.httpFlows != nil {
		flows = c.httpFlows(spec.StatPrefix, dir)
	}
	spec.Observers = c.observers(s, flows, m.GetAccessLog())
	spec.Stats = c.managers.of(spec.StatPrefix)
	for i, u := range m.GetUpgradeConfigs() {
		if len(u.GetFilters()) > 0 {
			s.at("upgrade_configs", i).in("filters").fail("is not supported")
		}
		if truth(u.GetEnabled(), true) {
			spec.Upgrades = append(spec.Upgrades, strings.ToLower(u.GetUpgradeType()))
		}
	}
	c.httpFilters(s, &spec, m.GetHttpFilters())
	if a := m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction(); a != corev3.HttpProtocolOptions_ALLOW {
		s.in("common_http_protocol_options.headers_with_underscores_action").fail("%v is not supported", a)
	}
	if len(m.GetOriginalIpDetectionExtensions())+len(m.GetEarlyHeaderMutationExtensions()) > 0 {
		s.fail("original_ip_detection_extensions and early_header_mutation_extensions are not supported")
	}
	if m.GetStripMatchingHostPort() || m.GetStripAnyHostPort() || m.GetStripTrailingHostDot() {
		s.fail("strip_matching_host_port and its kin are not supported")
	}
	h := proxy.NewHTTP(spec)
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		h.SetRoutes(inlineRoutes(s.in("route_config"), c, r.RouteConfig))
	case *hcmv3.HttpConnectionManager_Rds:
		h.SetRoutes(c.routes(r.Rds.GetRouteConfigName()))
	default:
		s.fail("route specifier %T is not supported", r)
	}
	return h
}

func codec(s scope, m *hcmv3.HttpConnectionManager) proxy.Codec {
	switch m.GetCodecType() {
	case hcmv3.HttpConnectionManager_HTTP1:
		return proxy.CodecHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		return proxy.CodecHTTP2
	case hcmv3.HttpConnectionManager_HTTP3:
		s.in("codec_type").fail("HTTP3 is not supported")
	case hcmv3.HttpConnectionManager_AUTO:
	}
	return proxy.CodecAuto
}

func pathSpec(m *hcmv3.HttpConnectionManager) proxy.PathSpec {
	out := proxy.PathSpec{Normalize: truth(m.GetNormalizePath(), false), MergeSlashes: m.GetMergeSlashes()}
	switch m.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		out.EscapedSlashes = proxy.SlashesReject
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		out.EscapedSlashes = proxy.SlashesUnescapeAndRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		out.EscapedSlashes = proxy.SlashesUnescapeAndForward
	case hcmv3.HttpConnectionManager_KEEP_UNCHANGED, hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT:
	}
	return out
}

func requestSpec(s scope, m *hcmv3.HttpConnectionManager) proxy.RequestSpec {
	out := proxy.RequestSpec{
		UseRemoteAddress:          truth(m.GetUseRemoteAddress(), false),
		XFFTrustedHops:            int(m.GetXffNumTrustedHops()),
		GenerateRequestID:         truth(m.GetGenerateRequestId(), true),
		PreserveExternalRequestID: m.GetPreserveExternalRequestId(),
		AlwaysSetRequestID:        m.GetAlwaysSetRequestIdInResponse(),
		InternalRanges:            prefixes(s, "internal_address_config.cidr_ranges", m.GetInternalAddressConfig().GetCidrRanges()),
	}
	switch m.GetForwardClientCertDetails() {
	case hcmv3.HttpConnectionManager_FORWARD_ONLY:
		out.ClientCert = proxy.CertForwardOnly
	case hcmv3.HttpConnectionManager_APPEND_FORWARD:
		out.ClientCert = proxy.CertAppendForward
	case hcmv3.HttpConnectionManager_SANITIZE_SET:
		out.ClientCert = proxy.CertSanitizeSet
	case hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
		out.ClientCert = proxy.CertAlwaysForwardOnly
	case hcmv3.HttpConnectionManager_SANITIZE:
	}
	if d := m.GetSetCurrentClientCertDetails(); d != nil {
		out.CertDetails = proxy.CertDetails{Subject: truth(d.GetSubject(), false), URI: d.GetUri(), DNS: d.GetDns()}
	}
	return out
}

func responseSpec(m *hcmv3.HttpConnectionManager) proxy.ResponseSpec {
	out := proxy.ResponseSpec{ServerName: m.GetServerName()}
	if out.ServerName == "" {
		out.ServerName = defaultServer
	}
	switch m.GetServerHeaderTransformation() {
	case hcmv3.HttpConnectionManager_APPEND_IF_ABSENT:
		out.ServerHeader = proxy.ServerAppendIfAbsent
	case hcmv3.HttpConnectionManager_PASS_THROUGH:
		out.ServerHeader = proxy.ServerPassThrough
	case hcmv3.HttpConnectionManager_OVERWRITE:
	}
	return out
}

func timeouts(m *hcmv3.HttpConnectionManager) proxy.Timeouts {
	common := m.GetCommonHttpProtocolOptions()
	out := proxy.Timeouts{
		Idle:          duration(common.GetIdleTimeout(), 0),
		StreamIdle:    duration(m.GetStreamIdleTimeout(), defaultStreamIdle),
		Request:       duration(m.GetRequestTimeout(), 0),
		Head:          duration(m.GetRequestHeadersTimeout(), 0),
		Stream:        duration(common.GetMaxStreamDuration(), 0),
		MaxConnection: duration(common.GetMaxConnectionDuration(), 0),
		Drain:         duration(m.GetDrainTimeout(), defaultDrain),
	}
	if common.GetIdleTimeout() != nil && out.Idle == 0 {
		out.Idle = -1 // Envoy: an explicit zero turns the timeout off
	}
	return out
}

// httpFilters goes through the filters in order. What cannot be enforced is an
// error; what only observes is left out.
func (c *Compiler) httpFilters(s scope, spec *proxy.HTTPSpec, filters []*hcmv3.HttpFilter) {
	if n := len(filters); n == 0 || !holds(filters[n-1].GetTypedConfig(), routerType) {
		s.fail("http_filters: the last filter has to be the router")
	}
	for i, f := range filters {
		fs := s.at("http_filters", i)
		if f.GetConfigDiscovery() != nil {
			c.discovered(fs.in("config_discovery"), spec, f)
			continue
		}
		c.httpFilter(fs, spec, f)
	}
}

func (c *Compiler) httpFilter(s scope, spec *proxy.HTTPSpec, f *hcmv3.HttpFilter) {
	switch kind := anyType(f.GetTypedConfig()); {
	case kind == routerType:
		var r routerv3.Router
		if s.check(unpack(f.GetTypedConfig(), &r)) {
			spec.SuppressEnvoyHeaders = r.GetSuppressEnvoyHeaders()
		}
	case kind == alpnType:
		var a alpnv2.FilterConfig
		if s.check(unpack(f.GetTypedConfig(), &a)) {
			spec.ALPN = upstreamALPN(&a)
		}
	case kind == peerMetadataType:
		spec.Request.StripPeerMetadata = true
	case kind == httpRBACType:
		install(spec, f, c.httpRBAC(s.in("typed_config"), spec.StatPrefix, f.GetName(), f.GetTypedConfig()))
	case kind == faultType:
		install(spec, f, c.fault(s.in("typed_config"), spec.StatPrefix, f))
	case kind == corsType:
		install(spec, f, c.cors(spec.StatPrefix, f))
	case kind == localRateLimitType:
		install(spec, f, c.localRateLimit(s.in("typed_config"), f))
	case kind == wasmType:
		install(spec, f, c.wasm(s.in("typed_config"), f.GetName(), f.GetTypedConfig()))
	case kind == luaType && f.GetIsOptional():
		c.ignored("http filter " + f.GetName())
	case kind == luaType: // a script has no word on what its failing means
		c.ignored("lua script " + f.GetName())
		install(spec, f, filter.Closed{})
	case kind == sessionType:
		install(spec, f, c.sessions(s.in("typed_config"), f))
	case slices.Contains(passiveHTTPFilters, kind):
	case (f.GetIsOptional() || f.GetDisabled()) && slices.Contains(harmlessHTTPFilters, kind):
		c.ignored("http filter " + f.GetName())
	default:
		s.fail("filter %s (%s) is not supported", f.GetName(), kind)
	}
}

func upstreamALPN(a *alpnv2.FilterConfig) proxy.UpstreamALPN {
	var out proxy.UpstreamALPN
	for _, o := range a.GetAlpnOverride() {
		switch o.GetUpstreamProtocol() {
		case alpnv2.FilterConfig_HTTP10:
			out.HTTP10 = o.GetAlpnOverride()
		case alpnv2.FilterConfig_HTTP11:
			out.HTTP11 = o.GetAlpnOverride()
		case alpnv2.FilterConfig_HTTP2:
			out.HTTP2 = o.GetAlpnOverride()
		}
	}
	return out
}

// trafficDirection converts a listener's direction.
func trafficDirection(d corev3.TrafficDirection) flow.Direction {
	switch d {
	case corev3.TrafficDirection_INBOUND:
		return flow.Inbound
	case corev3.TrafficDirection_OUTBOUND:
		return flow.Outbound
	case corev3.TrafficDirection_UNSPECIFIED:
	}
	return flow.Unspecified
}

// downstreamHeads are the bounds of request heads, whatever the HTTP version; 0 is the
// default.
func downstreamHeads(m *hcmv3.HttpConnectionManager) (bytes, fields int) {
	return int(number(m.GetMaxRequestHeadersKb(), 0)) << 10, int(number(m.GetCommonHttpProtocolOptions().GetMaxHeadersCount(), 0))
}

// upstreamHeads is the same for those of responses.
func upstreamHeads(m *corev3.HttpProtocolOptions) (bytes, fields int) {
	return int(number(m.GetMaxResponseHeadersKb(), 0)) << 10, int(number(m.GetMaxHeadersCount(), 0))
}
