package feed

import (
	"encoding/json"
	"fmt"
	"maps"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	// What the resources below mention in an Any.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// The types of resources.
const (
	typeCluster  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	typeEndpoint = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	typeListener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	typeRoute    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	typeSecret   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// obj and list are JSON under construction.
type (
	obj  = map[string]any
	list = []any
)

// resource is one encoded resource.
type resource struct {
	name string
	body []byte
}

// resources are all of one node, by type, in the order they are sent.
type resources struct {
	byType map[string][]resource
	index  map[string]map[string][]byte
}

func newResources() *resources {
	return &resources{byType: make(map[string][]resource), index: make(map[string]map[string][]byte)}
}

// add encodes a resource that is written in JSON.
func (r *resources) add(typeURL, name string, text obj) error {
	b, err := json.Marshal(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var m proto.Message
	switch typeURL {
	case typeCluster:
		m = new(clusterv3.Cluster)
	case typeEndpoint:
		m = new(endpointv3.ClusterLoadAssignment)
	case typeListener:
		m = new(listenerv3.Listener)
	default:
		m = new(routev3.RouteConfiguration)
	}
	if err := protojson.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.byType[typeURL] = append(r.byType[typeURL], resource{name, body})
	if r.index[typeURL] == nil {
		r.index[typeURL] = make(map[string][]byte)
	}
	r.index[typeURL][name] = body
	return nil
}

// build makes the resources of a node.
func build(hops []Hop, log string) (*resources, error) {
	r := newResources()
	for i := range hops {
		h := &hops[i]
		steps := []func(*resources) error{h.addClusters, func(r *resources) error { return h.addListener(r, log) }}
		if h.Role == Outbound {
			steps = append(steps, h.addEndpoints)
			if h.Protocol != TCP {
				steps = append(steps, h.addRoutes)
			}
			if h.Services > 0 {
				steps = append(steps, h.addServices)
			}
		}
		for _, step := range steps {
			if err := step(r); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

func address(ip string, port int) obj {
	return obj{"socketAddress": obj{"address": ip, "portValue": port}}
}

func anyOf(typeName string, fields obj) obj {
	out := maps.Clone(fields)
	if out == nil {
		out = make(obj, 1)
	}
	out["@type"] = "type.googleapis.com/" + typeName
	return out
}

func named(name, typeName string, fields obj) obj {
	return obj{"name": name, "typedConfig": anyOf(typeName, fields)}
}

func ads() obj {
	return obj{"ads": obj{}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"}
}
