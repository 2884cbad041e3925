package feed

import (
	"fmt"
	"strconv"
)

// logFormat is Istio's default.
const logFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% ` +
	`%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
	`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

func accessLog(path string) list {
	return list{named("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", obj{
		"path": path, "logFormat": obj{"textFormatSource": obj{"inlineString": logFormat}},
	})}
}

func (h *Hop) addListener(r *resources, log string) error {
	chain := obj{"filters": list{h.terminal(log)}}
	l := obj{
		"name": fmt.Sprintf("127.0.0.1_%d", h.Listen), "address": address("127.0.0.1", h.Listen),
		"filterChains": list{chain}, "listenerFiltersTimeout": "0s", "maxConnectionsToAcceptPerSocketEvent": 1,
		"trafficDirection": "OUTBOUND",
	}
	if h.Role == Inbound {
		l["trafficDirection"] = "INBOUND"
	}
	if h.Role == Inbound && h.TLS {
		chain["filterChainMatch"] = obj{"transportProtocol": "tls"}
		chain["transportSocket"] = h.downstreamTLS()
		l["continueOnListenerFiltersTimeout"] = true
		l["listenerFilters"] = list{named("envoy.filters.listener.tls_inspector",
			"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", obj{"initialReadBufferSize": 512})}
	}
	return r.add(typeListener, l["name"].(string), l) //nolint:forcetypeassert // set above
}

// terminal is the filter that deals with the bytes.
func (h *Hop) terminal(log string) obj {
	if h.Protocol == TCP {
		return named("envoy.filters.network.tcp_proxy", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", obj{
			"statPrefix": h.cluster() + ";", "cluster": h.cluster(), "accessLog": accessLog(log),
		})
	}
	m := obj{
		"accessLog": accessLog(log), "httpFilters": h.filters(),
		"normalizePath": true, "pathWithEscapedSlashesAction": "KEEP_UNCHANGED", "proxy100Continue": true,
		"requestIdExtension": obj{"typedConfig": anyOf("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", obj{"useRequestIdForTraceSampling": true})},
		"streamIdleTimeout":  "0s", "upgradeConfigs": list{obj{"upgradeType": "websocket"}}, "useRemoteAddress": false,
	}
	if h.Role == Outbound {
		m["statPrefix"] = fmt.Sprintf("outbound_127.0.0.1_%d;", h.Listen)
		m["rds"] = obj{"configSource": ads(), "routeConfigName": strconv.Itoa(h.Listen)}
	} else {
		m["statPrefix"] = fmt.Sprintf("inbound_127.0.0.1_%d;", h.Listen)
		m["serverName"] = "istio-envoy"
		m["forwardClientCertDetails"] = "APPEND_FORWARD"
		m["setCurrentClientCertDetails"] = obj{"subject": true, "dns": true, "uri": true}
		m["routeConfig"] = h.inlineRoutes()
	}
	return named("envoy.filters.network.http_connection_manager",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", m)
}

func (h *Hop) filters() list {
	var out list
	if h.Policy {
		out = append(out, h.policy())
	}
	return append(out,
		named("envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", obj{"emitFilterState": true, "statsForAllMethods": false}),
		named("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault", nil),
		named("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors", nil),
		named("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", nil),
	)
}

// policy allows what the benchmark sends, by method and by who sends it.
func (h *Hop) policy() obj {
	who := obj{"directRemoteIp": obj{"addressPrefix": "127.0.0.0", "prefixLen": 8}}
	if h.Role == Inbound && h.TLS {
		who = obj{"authenticated": obj{"principalName": obj{"exact": Outbound.SPIFFE()}}}
	}
	var methods list
	for _, name := range []string{"GET", "POST"} {
		methods = append(methods, obj{"header": obj{"name": ":method", "stringMatch": obj{"exact": name}}})
	}
	and := func(in ...any) obj { return obj{"andRules": obj{"rules": list(in)}} }
	rule := obj{
		"permissions": list{and(obj{"orRules": obj{"rules": methods}})},
		"principals":  list{obj{"andIds": obj{"ids": list{obj{"orIds": obj{"ids": list{who}}}}}}},
	}
	return named("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", obj{
		"shadowRulesStatPrefix": "istio_dry_run_allow_",
		"rules":                 obj{"policies": obj{"ns[" + namespace + "]-policy[echo]-rule[0]": rule}},
	})
}
