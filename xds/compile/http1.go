package compile

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/http1"
)

// downstreamHTTP1 compiles the options of HTTP/1.1 connections that are accepted.
func downstreamHTTP1(s scope, m *hcmv3.HttpConnectionManager) proxy.HTTP1Spec {
	o := m.GetHttpProtocolOptions()
	return proxy.HTTP1Spec{
		MaxHeadBytes:       int(number(m.GetMaxRequestHeadersKb(), 0)) << 10,
		MaxHeaders:         int(number(m.GetCommonHttpProtocolOptions().GetMaxHeadersCount(), 0)),
		Names:              headerNames(s.in("http_protocol_options.header_key_format"), o.GetHeaderKeyFormat()),
		AllowChunkedLength: o.GetAllowChunkedLength(),
		NoAbsolute:         !truth(o.GetAllowAbsoluteUrl(), true),
		KeepInvalid:        truth(o.GetOverrideStreamErrorOnInvalidHttpMessage(), truth(m.GetStreamErrorOnInvalidHttpMessage(), false)),
	}
}

// upstreamHTTP1 compiles the options of HTTP/1.1 connections to endpoints.
func upstreamHTTP1(s scope, common *corev3.HttpProtocolOptions, o *corev3.Http1ProtocolOptions) http1.ClientOptions {
	return http1.ClientOptions{
		MaxHeadBytes:       int(number(common.GetMaxResponseHeadersKb(), 0)) << 10,
		MaxHeaders:         int(number(common.GetMaxHeadersCount(), 0)),
		EnableTrailers:     o.GetEnableTrailers(),
		Names:              headerNames(s.in("header_key_format"), o.GetHeaderKeyFormat()),
		ForwardReason:      forwardsReason(o.GetHeaderKeyFormat()),
		FullTarget:         o.GetSendFullyQualifiedUrl(),
		AllowChunkedLength: o.GetAllowChunkedLength(),
	}
}

// headerNames compiles how names are written.
func headerNames(s scope, f *corev3.Http1ProtocolOptions_HeaderKeyFormat) http1.Names {
	switch h := f.GetHeaderFormat().(type) {
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords_:
		return http1.ProperCase
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter:
		var p preservecasev3.PreserveCaseFormatterConfig
		if !s.in("stateful_formatter").check(unpack(h.StatefulFormatter.GetTypedConfig(), &p)) {
			return http1.LowerCase
		}
		if p.GetFormatterTypeOnEnvoyHeaders() == preservecasev3.PreserveCaseFormatterConfig_PROPER_CASE {
			return http1.PreserveOrProperCase
		}
		return http1.PreserveCase
	}
	return http1.LowerCase
}

// forwardsReason reports whether the formatter passes reason phrases on.
func forwardsReason(f *corev3.Http1ProtocolOptions_HeaderKeyFormat) bool {
	var p preservecasev3.PreserveCaseFormatterConfig
	a := f.GetStatefulFormatter().GetTypedConfig()
	return a != nil && unpack(a, &p) == nil && p.GetForwardReasonPhrase() // a bad one is refused by headerNames
}
