package compile

import (
	"slices"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The filters that only observe, or whose work is done elsewhere. They are
// accepted and left out; docs/xds.md says what is lost.
var (
	passiveHTTPFilters = []string{
		"stats.PluginConfig",
		"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
		"envoy.extensions.filters.http.fault.v3.HTTPFault",
		"envoy.extensions.filters.http.cors.v3.Cors",
	}
	passiveNetworkFilters = []string{
		"envoy.tcp.metadataexchange.config.MetadataExchange",
		"stats.PluginConfig",
		"envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
	}
)

// securityFilter reports whether leaving a filter out would let somebody in, also
// where the configuration calls it optional or disabled.
func securityFilter(name, kind string) bool {
	for _, word := range []string{"rbac", "jwt_authn", "ext_authz", "ext_proc", "wasm", "lua", "oauth2", "basic_auth", "api_key"} {
		if strings.Contains(name, word) || strings.Contains(kind, word) {
			return true
		}
	}
	return false
}

// anyType is the full name of what an Any holds, looking through the two kinds of
// TypedStruct.
func anyType(a *anypb.Any) string {
	name := strings.TrimPrefix(a.GetTypeUrl(), typePrefix)
	switch name {
	case "udpa.type.v1.TypedStruct":
		var ts udpav1.TypedStruct
		if proto.Unmarshal(a.GetValue(), &ts) == nil {
			return strings.TrimPrefix(ts.GetTypeUrl(), typePrefix)
		}
	case "xds.type.v3.TypedStruct":
		var ts xdstypev3.TypedStruct
		if proto.Unmarshal(a.GetValue(), &ts) == nil {
			return strings.TrimPrefix(ts.GetTypeUrl(), typePrefix)
		}
	}
	return name
}

// passiveNetwork reports whether a network filter may be left out.
func passiveNetwork(kind string) bool { return slices.Contains(passiveNetworkFilters, kind) }
