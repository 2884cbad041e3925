package feed

import "strings"

// unlimited are the circuit breakers that istiod writes by default.
func unlimited() obj {
	const all = uint32(1<<32 - 1)
	return obj{"thresholds": list{obj{
		"maxConnections": all, "maxPendingRequests": all, "maxRequests": all, "maxRetries": all, "trackRemaining": true,
	}}}
}

func (h *Hop) addClusters(r *resources) error {
	if h.Role == Outbound {
		return r.add(typeCluster, h.cluster(), h.outboundCluster(h.cluster(), Host))
	}
	c := obj{
		"name": h.cluster(), "type": "STATIC", "connectTimeout": "10s", "circuitBreakers": unlimited(), "commonLbConfig": obj{},
		"altStatName": h.cluster() + ";",
		"loadAssignment": obj{"clusterName": h.cluster(), "endpoints": list{
			obj{"lbEndpoints": list{obj{"endpoint": obj{"address": address("127.0.0.1", h.Upstream)}}}},
		}},
		"metadata": metadata(Host),
	}
	h.speak(c)
	return r.add(typeCluster, h.cluster(), c)
}

func metadata(host string) obj {
	return obj{"filterMetadata": obj{"istio": obj{"services": list{obj{"host": host, "name": host, "namespace": namespace}}}}}
}

func (h *Hop) outboundCluster(name, host string) obj {
	c := obj{
		"name": name, "type": "EDS", "connectTimeout": "10s", "lbPolicy": "LEAST_REQUEST", "circuitBreakers": unlimited(),
		"altStatName":      name + ";",
		"commonLbConfig":   obj{"healthyPanicThreshold": obj{}},
		"edsClusterConfig": obj{"edsConfig": ads(), "serviceName": name},
		"metadata":         metadata(host),
		"transportSocketMatches": list{
			obj{"name": "tlsMode-istio", "match": obj{"tlsMode": "istio"}, "transportSocket": h.upstreamTLS(name, host)},
			obj{"name": "tlsMode-disabled", "match": obj{}, "transportSocket": named("envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", nil)},
		},
	}
	h.speak(c)
	return c
}

// speak fixes the protocol towards the endpoints.
func (h *Hop) speak(c obj) {
	if h.Protocol != HTTP2 {
		return
	}
	c["typedExtensionProtocolOptions"] = obj{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": anyOf(
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions", obj{"explicitHttpConfig": obj{"http2ProtocolOptions": obj{}}},
	)}
}

// alpn is what Istio's ALPN filter would put into the handshake.
func (h *Hop) alpn() list {
	switch h.Protocol {
	case HTTP1:
		return list{"istio-http/1.1", "istio", "http/1.1"}
	case HTTP2:
		return list{"istio-h2", "istio", "h2"}
	default:
		return list{"istio"}
	}
}

// upstreamTLS names the service in the SNI as Istio does: dots for the bars of the
// cluster's name.
func (h *Hop) upstreamTLS(cluster, host string) obj {
	context := commonTLS(h.alpn(), obj{"exact": Inbound.SPIFFE()})
	context["tlsParams"] = obj{"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"}
	return named("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", obj{
		"sni": "outbound_." + strings.Split(cluster, "|")[1] + "_._." + host, "commonTlsContext": context,
	})
}

func (h *Hop) downstreamTLS() obj {
	alpn := list{"h2", "http/1.1"}
	if h.Protocol == TCP {
		alpn = list{"istio"}
	}
	context := commonTLS(alpn, obj{"prefix": "spiffe://" + trustDomain + "/"})
	context["tlsParams"] = obj{
		"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3",
		"cipherSuites": list{
			"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
			"ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-GCM-SHA256",
		},
	}
	return named("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", obj{
		"requireClientCertificate": true, "commonTlsContext": context,
	})
}

func commonTLS(alpn list, peer obj) obj {
	return obj{
		"alpnProtocols":                  alpn,
		"tlsCertificateSdsSecretConfigs": list{sds("default")},
		"combinedValidationContext": obj{
			"defaultValidationContext":         obj{"matchSubjectAltNames": list{peer}},
			"validationContextSdsSecretConfig": sds("ROOTCA"),
		},
	}
}

func sds(name string) obj {
	return obj{"name": name, "sdsConfig": obj{
		"initialFetchTimeout": "0s", "resourceApiVersion": "V3",
		"apiConfigSource": obj{
			"apiType": "GRPC", "transportApiVersion": "V3", "setNodeOnFirstMessageOnly": true,
			"grpcServices": list{obj{"envoyGrpc": obj{"clusterName": "sds-grpc"}}},
		},
	}}
}

func (h *Hop) addEndpoints(r *resources) error {
	return r.add(typeEndpoint, h.cluster(), assignment(h.cluster(), h.TLS, endpoint{"127.0.0.1", h.Upstream}))
}

type endpoint struct {
	ip   string
	port int
}

func assignment(cluster string, mtls bool, ends ...endpoint) obj {
	var all list
	for _, e := range ends {
		m := obj{"istio": obj{"workload": "echo;" + namespace + ";echo;v1;Kubernetes"}}
		if mtls {
			m["envoy.transport_socket_match"] = obj{"tlsMode": "istio"}
		}
		all = append(all, obj{
			"endpoint": obj{"address": address(e.ip, e.port)}, "loadBalancingWeight": 1, "metadata": obj{"filterMetadata": m},
		})
	}
	return obj{"clusterName": cluster, "endpoints": list{obj{"lbEndpoints": all, "loadBalancingWeight": len(ends), "locality": obj{}}}}
}
