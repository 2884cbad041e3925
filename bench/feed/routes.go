package feed

import (
	"fmt"
	"net/netip"
	"strconv"
)

// prefixes are routes before the one that the requests take.
const prefixes = 15

func (h *Hop) addRoutes(r *resources) error {
	if h.Services > 0 {
		return nil // they bring one route table for all
	}
	return r.add(typeRoute, strconv.Itoa(h.Listen), h.routeTable())
}

func (h *Hop) routeTable(more ...any) obj {
	hosts := append(list{h.virtualHost()}, more...)
	return obj{
		"name": strconv.Itoa(h.Listen), "ignorePortInHostMatching": true, "maxDirectResponseBodySizeBytes": 1 << 20,
		"validateClusters": false, "virtualHosts": hosts,
	}
}

// virtualHost has the routes of a virtual service with prefixes.
func (h *Hop) virtualHost() obj {
	var routes list
	for i := range prefixes {
		routes = append(routes, h.route(fmt.Sprintf("part-%d", i), fmt.Sprintf("/part-%d/", i), h.cluster()))
	}
	routes = append(routes, h.route("default", "/", h.cluster()))
	return obj{
		"name": fmt.Sprintf("%s:%d", Host, h.Listen), "includeRequestAttemptCount": true, "routes": routes,
		"domains": list{Host, "echo", "echo." + namespace + ".svc", "echo." + namespace, "127.0.0.1", "localhost"},
	}
}

func (h *Hop) route(name, prefix, cluster string) obj {
	return obj{
		"name": name, "match": obj{"prefix": prefix}, "decorator": obj{"operation": fmt.Sprintf("%s:%d/*", Host, h.Listen)},
		"requestHeadersToAdd":  list{obj{"header": obj{"key": "x-bench-route", "value": name}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}},
		"responseHeadersToAdd": list{obj{"header": obj{"key": "x-bench-cluster", "value": "echo"}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}},
		"route": obj{
			"cluster": cluster, "timeout": "0s", "maxGrpcTimeout": "0s",
			"retryPolicy": obj{
				"numRetries": 2, "hostSelectionRetryMaxAttempts": "5",
				"retryOn": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
				"retryHostPredicate": list{named("envoy.retry_host_predicates.previous_hosts",
					"envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", nil)},
			},
		},
	}
}

func (h *Hop) inlineRoutes() obj {
	return obj{"name": h.cluster(), "validateClusters": false, "virtualHosts": list{obj{
		"name": fmt.Sprintf("inbound|http|%d", h.Listen), "domains": list{"*"},
		"routes": list{obj{
			"name": "default", "match": obj{"prefix": "/"}, "decorator": obj{"operation": fmt.Sprintf("%s:%d/*", Host, h.Listen)},
			"route": obj{
				"cluster": h.cluster(), "timeout": "0s",
				"maxStreamDuration": obj{"maxStreamDuration": "0s", "grpcTimeoutHeaderMax": "0s"},
				"retryPolicy":       obj{"numRetries": 2, "retryOn": "reset-before-request"},
			},
		}},
	}}}
}

const (
	endpointsPer = 10
	servicePort  = 8080
)

// addServices adds services that are never called: what a sidecar of a large mesh
// is told of and does not need.
func (h *Hop) addServices(r *resources) error {
	vip, end := netip.AddrFrom4([4]byte{10, 128, 0, 1}), netip.AddrFrom4([4]byte{10, 192, 0, 1})
	var hosts list
	for i := range h.Services {
		short := fmt.Sprintf("service-%d.many", i)
		host := short + ".svc.cluster.local"
		name := fmt.Sprintf("outbound|%d||%s", servicePort, host)
		if err := r.add(typeCluster, name, h.outboundCluster(name, host)); err != nil {
			return err
		}
		ends := make([]endpoint, endpointsPer)
		for j := range ends {
			ends[j] = endpoint{end.String(), servicePort}
			end = end.Next()
		}
		if err := r.add(typeEndpoint, name, assignment(name, true, ends...)); err != nil {
			return err
		}
		route := h.route("default", "/", name)
		delete(route, "requestHeadersToAdd")
		delete(route, "responseHeadersToAdd")
		hosts = append(hosts, obj{
			"name": fmt.Sprintf("%s:%d", host, servicePort), "includeRequestAttemptCount": true, "routes": list{route},
			"domains": list{host, short, short + ".svc", vip.String()},
		})
		vip = vip.Next()
	}
	return r.add(typeRoute, strconv.Itoa(h.Listen), h.routeTable(hosts...))
}
