package relay

import (
	"encoding/json"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Bootstrap says how an Envoy comes to a relay.
type Bootstrap struct {
	// Node is what istiod is to take it for.
	Node *corev3.Node
	// Socket is the path of the relay's socket, as Envoy sees it; at most 107 bytes.
	Socket string
	// AdminPort is on 127.0.0.1.
	AdminPort int
}

// JSON returns the configuration for Envoy's -c.
func (b Bootstrap) JSON() ([]byte, error) {
	node := proto.CloneOf(b.Node)
	// The rest is filled in by Envoy, and istiod does not read it.
	clean := &corev3.Node{Id: node.GetId(), Cluster: node.GetCluster(), Metadata: node.GetMetadata(), Locality: node.GetLocality()}
	text, err := protojson.Marshal(clean)
	if err != nil {
		return nil, err
	}
	type m = map[string]any
	cluster := func(name string) m {
		return m{
			"name": name, "type": "STATIC", "connect_timeout": "5s",
			"typed_extension_protocol_options": m{httpOptions: m{
				"@type":                typePrefix + httpOptions,
				"explicit_http_config": m{"http2_protocol_options": m{}},
			}},
			"load_assignment": m{"cluster_name": name, "endpoints": []m{{"lb_endpoints": []m{{
				"endpoint": m{"address": m{"pipe": m{"path": b.Socket}}},
			}}}}},
		}
	}
	ads := m{"ads": m{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
	return json.MarshalIndent(m{
		"node":  json.RawMessage(text),
		"admin": m{"address": m{"socket_address": m{"address": "127.0.0.1", "port_value": b.AdminPort}}},
		"dynamic_resources": m{
			"lds_config": ads, "cds_config": ads,
			"ads_config": m{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": []m{{"envoy_grpc": m{"cluster_name": "xds-grpc"}}},
			},
		},
		"static_resources": m{"clusters": []m{cluster("xds-grpc"), cluster("sds-grpc")}},
		"layered_runtime":  m{"layers": []m{{"name": "istio", "static_layer": istioRuntime}}},
	}, "", "  ")
}

// istioRuntime are the runtime flags that pilot-agent's bootstrap sets and that
// change what a request gets.
var istioRuntime = map[string]any{
	"overload.global_downstream_max_connections":               "2147483647",
	"re2.max_program_size.error_level":                         "32768",
	"envoy.reloadable_features.http_reject_path_with_fragment": false,
}
