package peers

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

// Envoy is an Envoy without Istio's own filters.
type Envoy struct {
	// Program is its path.
	Program string
}

// Name is the subject's.
func (*Envoy) Name() string { return report.Envoy }

// Version is what it says.
func (v *Envoy) Version(ctx context.Context) string {
	text := output(ctx, v.Program, "--version")
	if _, after, ok := strings.Cut(text, "version:"); ok {
		text = strings.TrimSpace(after)
		if parts := strings.Split(text, "/"); len(parts) > 1 {
			return parts[1]
		}
	}
	return text
}

// Supports says yes.
func (*Envoy) Supports(feed.Hop) error { return nil }

// obj and list are JSON under construction.
type (
	obj  = map[string]any
	list = []any
)

func (v *Envoy) command(ctx context.Context, e *Env, n *Node, dir string) (Command, error) {
	if err := e.Feed.Add(n.Name, n.Role, n.Hops, filepath.Join(dir, "access.log")); err != nil {
		return Command{}, err
	}
	admin, err := e.Ports.Free(ctx)
	if err != nil {
		return Command{}, err
	}
	text, err := json.Marshal(Bootstrap(feed.NodeID(n.Name), admin, e.Feed.PlainPort()))
	if err != nil {
		return Command{}, err
	}
	files, err := writeFiles(dir, map[string][]byte{"envoy.json": text})
	if err != nil {
		return Command{}, err
	}
	return Command{
		Path: v.Program, Dir: dir,
		Args: []string{"-c", files["envoy.json"], "--concurrency", strconv.Itoa(e.Threads), "--use-dynamic-base-id", "-l", "error"},
	}, nil
}

// Bootstrap is what an Envoy needs to know to ask for the rest.
func Bootstrap(node string, admin, feedPort int) map[string]any {
	here := func(port int) obj {
		return obj{"socket_address": obj{"address": "127.0.0.1", "port_value": port}}
	}
	static := func(name string) obj {
		const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
		return obj{
			"name": name, "type": "STATIC", "connect_timeout": "5s",
			"typed_extension_protocol_options": obj{options: obj{
				"@type": "type.googleapis.com/" + options, "explicit_http_config": obj{"http2_protocol_options": obj{}},
			}},
			"load_assignment": obj{"cluster_name": name, "endpoints": list{obj{"lb_endpoints": list{obj{"endpoint": obj{"address": here(feedPort)}}}}}},
		}
	}
	ads := obj{"ads": obj{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
	return obj{
		"node":  obj{"id": node, "cluster": "bench"},
		"admin": obj{"address": here(admin)},
		"layered_runtime": obj{"layers": list{obj{"name": "static", "static_layer": obj{
			"overload.global_downstream_max_connections": 2147483647,
		}}}},
		"dynamic_resources": obj{
			"lds_config": ads, "cds_config": ads,
			"ads_config": obj{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": list{obj{"envoy_grpc": obj{"cluster_name": "xds-grpc"}}},
			},
		},
		"static_resources": obj{"clusters": list{static("xds-grpc"), static("sds-grpc")}},
	}
}
