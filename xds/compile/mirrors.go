package compile

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

// mirrors compiles who gets copies of a route's requests.
func mirrors(s scope, level *routeLevel, policies []*routev3.RouteAction_RequestMirrorPolicy) []proxy.Mirror {
	var out []proxy.Mirror
	for i, p := range policies {
		ps := s.at("request_mirror_policies", i)
		if p.GetClusterHeader() != "" {
			ps.in("cluster_header").fail("is not supported")
			continue
		}
		part := runtimeShare(p.GetRuntimeFraction(), filter.Everything)
		if len(p.GetRequestHeadersMutations()) > 0 {
			level.clusters.ignored("request_headers_mutations of mirrors")
		}
		out = append(out, proxy.Mirror{
			Cluster: level.clusters.cluster(p.GetCluster()), KeepHost: p.GetDisableShadowHostSuffixAppend(),
			Numerator: uint64(part.Numerator), Denominator: uint64(part.Denominator),
		})
	}
	return out
}
