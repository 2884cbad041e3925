//go:build !race

package xds_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/xds"
)

// meshOf makes the clusters, endpoints and routes of n services with 10 endpoints each, in the likeness of istiod's.
func meshOf(tb testing.TB, n int) (clusters, endpoints []*discovery.Resource, routes *discovery.Resource) {
	tb.Helper()
	var model cluster.Cluster
	for _, r := range sample(tb, "web/CDS").Resources {
		if strings.HasPrefix(r.Name, "outbound|") {
			if err := r.Resource.UnmarshalTo(&model); err != nil {
				tb.Fatal(err)
			}
			if model.GetType() == cluster.Cluster_EDS && len(model.TransportSocketMatches) > 0 {
				break
			}
		}
	}
	var eds endpoint.ClusterLoadAssignment
	if err := sample(tb, "web/EDS").Resources[0].Resource.UnmarshalTo(&eds); err != nil {
		tb.Fatal(err)
	}
	var rc, out route.RouteConfiguration
	for _, r := range sample(tb, "web/RDS").Resources {
		if r.Name == "9080" || r.Name == "80" {
			if err := r.Resource.UnmarshalTo(&rc); err != nil {
				tb.Fatal(err)
			}
		}
	}
	out.Name = "8000"
	for i := range n {
		host := fmt.Sprintf("svc-%d.ns%d.svc.cluster.local", i, i%97)
		name := "outbound|8000||" + host
		model.Name, model.EdsClusterConfig.ServiceName = name, name
		clusters = append(clusters, resource(tb, name, &model))
		la := &endpoint.ClusterLoadAssignment{ClusterName: name}
		loc := proto.CloneOf(eds.Endpoints[0])
		one := loc.LbEndpoints[0]
		loc.LbEndpoints = nil
		for j := range 10 {
			e := proto.CloneOf(one)
			e.GetEndpoint().Address.Address = &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
				Address: fmt.Sprintf("10.%d.%d.%d", i/2500, i/10%250, i%10*20+j), PortSpecifier: &core.SocketAddress_PortValue{PortValue: 8000},
			}}
			loc.LbEndpoints = append(loc.LbEndpoints, e)
		}
		la.Endpoints = append(la.Endpoints, loc)
		endpoints = append(endpoints, resource(tb, name, la))
		vh := proto.CloneOf(rc.VirtualHosts[0])
		vh.Name = host + ":8000"
		vh.Domains = []string{host, host + ".", fmt.Sprintf("svc-%d.ns%d", i, i%97), fmt.Sprintf("svc-%d.ns%d.svc", i, i%97), fmt.Sprintf("10.96.%d.%d", i/250, i%250)}
		out.VirtualHosts = append(out.VirtualHosts, vh)
	}
	return clusters, endpoints, resource(tb, out.Name, &out)
}

// rss reads the resident memory of this process.
func rss(tb testing.TB) float64 {
	tb.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		tb.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / 1e6
}

// BenchmarkPush measures a whole push of 10,000 services: received for the first time, again in the same bytes, and
// again in other bytes.
func BenchmarkPush(b *testing.B) {
	clusters, endpoints, routes := meshOf(b, 10_000)
	push := func(b *testing.B, s *xds.Store) {
		apply(b, s, xds.TypeCluster, nil, clusters...)
		apply(b, s, xds.TypeEndpoint, nil, endpoints...)
		apply(b, s, xds.TypeRoute, nil, routes)
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		grown := 0.0
		for b.Loop() {
			b.StopTimer()
			before := rss(b)
			s := newStore(b)
			b.StartTimer()
			push(b, s)
			b.StopTimer()
			grown = rss(b) - before
			u := s.Usage()
			b.SetBytes(int64(u.Raw))
			b.ReportMetric(float64(u.Packed)/1e6, "MB-packed")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		b.ReportMetric(grown, "MB-RSS")
	})
	b.Run("same bytes", func(b *testing.B) {
		s := newStore(b)
		push(b, s)
		b.ReportAllocs()
		for b.Loop() {
			push(b, s)
		}
	})
	b.Run("other bytes", func(b *testing.B) {
		s := newStore(b)
		push(b, s)
		for i := range clusters {
			clusters[i] = reshuffled(b, clusters[i])
			endpoints[i] = reshuffled(b, endpoints[i])
		}
		routes = reshuffled(b, routes)
		push(b, s)
		b.ReportAllocs()
		for b.Loop() {
			push(b, s)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	_, _, routes := meshOf(b, 10_000)
	s := newStore(b)
	apply(b, s, xds.TypeRoute, nil, routes)
	for name, host := range map[string]string{"exact": "svc-4711.ns55.svc.cluster.local", "miss": "no.such.host"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, ok := s.Lookup("8000", host)
				if ok != (name == "exact") {
					b.Fatal(ok)
				}
			}
		})
	}
}
