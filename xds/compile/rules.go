package compile

import "github.com/outrigger-mesh/outrigger/xds/wire"

// Rules say which extensions are welcome where. A place that decides who may talk
// to whom lists what is understood and refuses the rest; a place that only
// observes or tunes lets everything in and leaves out what it does not know.
func Rules() wire.Rules {
	refuse := wire.Verdict{Action: wire.Reject, Reason: "is not supported"}
	ignore := wire.Verdict{Action: wire.Ignore}
	only := func(types ...string) wire.Allow {
		a := wire.Allow{Types: make(map[string]wire.Verdict), Other: refuse}
		for _, t := range types {
			a.Types[t] = wire.Verdict{Action: wire.Accept}
		}
		return a
	}
	transport := only(rawBufferType, upstreamTLSType, downstreamTLSType)
	perRoute := only(faultType, corsPolicyType, localRateLimitType, rbacPerRouteType, statefulPerRouteType, statsType)
	return wire.Rules{
		Other: wire.Allow{Other: ignore},
		Contexts: map[string]wire.Allow{
			"envoy.config.listener.v3.ListenerFilter.typed_config": only(originalDstType, tlsInspectorType, httpInspectorType),
			"envoy.config.listener.v3.Filter.typed_config":         only(append([]string{hcmType, tcpProxyType, networkRBACType}, passiveNetworkFilters...)...),
			"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter.typed_config": only(
				append([]string{routerType, alpnType, peerMetadataType, httpRBACType, faultType, corsType, localRateLimitType, wasmType, luaType, sessionType}, passiveHTTPFilters...)...),
			"envoy.config.core.v3.TransportSocket.typed_config":                           transport,
			"envoy.config.route.v3.Route.typed_per_filter_config":                         perRoute,
			"envoy.config.route.v3.VirtualHost.typed_per_filter_config":                   perRoute,
			"envoy.config.route.v3.RouteConfiguration.typed_per_filter_config":            perRoute,
			"envoy.config.route.v3.WeightedCluster.ClusterWeight.typed_per_filter_config": perRoute,
			"envoy.config.core.v3.TypedExtensionConfig.typed_config":                      {Other: ignore},
		},
	}
}
