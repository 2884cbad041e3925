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
		statsType,
		"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
	}
	passiveNetworkFilters = []string{
		"envoy.tcp.metadataexchange.config.MetadataExchange",
		statsType,
		"envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
	}
)

// harmlessHTTPFilters may be left out where the configuration calls them optional
// or disabled: without them nobody gets in who would not get in with them. Every
// other filter that is not supported is refused, whatever it is called.
var harmlessHTTPFilters = []string{
	"envoy.extensions.filters.http.buffer.v3.Buffer",
	"envoy.extensions.filters.http.cache.v3.CacheConfig",
	"envoy.extensions.filters.http.compressor.v3.Compressor",
	"envoy.extensions.filters.http.decompressor.v3.Decompressor",
	"envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
	"envoy.extensions.filters.http.tap.v3.Tap",
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
