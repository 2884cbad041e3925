package compile_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
)

func dnsCluster(name string, kind clusterv3.Cluster_DiscoveryType, hosts ...string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: kind}, DnsLookupFamily: clusterv3.Cluster_V4_ONLY,
		DnsRefreshRate: durationpb.New(2 * time.Millisecond), LoadAssignment: assignment(name, hosts...),
	}
}

func (r *rig) know(lines string) {
	r.t.Helper()
	next := r.hosts + ".next"
	r.must(os.WriteFile(next, []byte(lines), 0o600))
	r.must(os.Rename(next, r.hosts))
}

// endpointsOf lists a cluster's endpoints as "address (hostname)".
func endpointsOf(c *upstream.Cluster) string {
	var out []string
	for _, e := range c.Endpoints().Endpoints() {
		out = append(out, e.Addr().String()+" ("+e.Spec().Hostname+")")
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func becomes(t *testing.T, c *upstream.Cluster, want string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); endpointsOf(c) != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %s, want %s", endpointsOf(c), want)
		}
	}
}

// throughRoutes is the cluster behind a route, which refers to it.
func throughRoutes(t *testing.T, r *rig, clusters ...*clusterv3.Cluster) *upstream.Cluster {
	t.Helper()
	for _, c := range clusters {
		r.must(r.send(xds.TypeCluster, nil, c))
	}
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("shop", clusters[0].GetName(), "shop"))))
	r.must(r.send(xds.TypeListener, nil, listener("out", 15001, true, httpChain(t, "80"))))
	return mentioned(t, r, "shop")
}

func TestStrictDNSHasAnEndpointForEachAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.know("192.0.2.1 a.example\n192.0.2.2 a.example\n192.0.2.3 b.example\n")
	c := throughRoutes(t, r, dnsCluster("shop", clusterv3.Cluster_STRICT_DNS, "a.example", "b.example", "192.0.2.9"))
	r.must(c.Ensure(t.Context()))
	want := "192.0.2.1:80 (a.example), 192.0.2.2:80 (a.example), 192.0.2.3:80 (b.example), 192.0.2.9:80 (192.0.2.9)"
	if got := endpointsOf(c); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	kept := c.Endpoints().Endpoints()[2]
	r.know("192.0.2.4 a.example\n192.0.2.3 b.example\n")
	becomes(t, c, "192.0.2.3:80 (b.example), 192.0.2.4:80 (a.example), 192.0.2.9:80 (192.0.2.9)")
	if !slices.Contains(c.Endpoints().Endpoints(), kept) {
		t.Error("an endpoint that stayed is another one")
	}

	r.must(r.send(xds.TypeCluster, nil, dnsCluster("shop", clusterv3.Cluster_STRICT_DNS, "b.example")))
	becomes(t, c, "192.0.2.3:80 (b.example)")
	r.must(r.send(xds.TypeCluster, []string{"shop"}))
	if c.Spec() != nil || endpointsOf(c) != "" {
		t.Errorf("the removed cluster has %s", endpointsOf(c))
	}
	r.must(r.send(xds.TypeCluster, nil, dnsCluster("shop", clusterv3.Cluster_STRICT_DNS, "a.example")))
	becomes(t, c, "192.0.2.4:80 (a.example)")
	r.must(r.send(xds.TypeCluster, nil, edsCluster("shop")))
	r.must(r.send(xds.TypeEndpoint, nil, assignment("shop", "192.0.2.50")))
	becomes(t, c, "192.0.2.50:80 ()")
}

func TestLogicalDNSHasOneEndpointThatStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.know("192.0.2.1 a.example\n192.0.2.2 a.example\n")
	c := throughRoutes(t, r, dnsCluster("shop", clusterv3.Cluster_LOGICAL_DNS, "a.example"))
	r.must(c.Ensure(t.Context()))
	if got := endpointsOf(c); got != "192.0.2.1:80 (a.example)" {
		t.Fatalf("got %s", got)
	}
	before := c.Endpoints().Endpoints()[0]
	r.know("192.0.2.2 a.example\n192.0.2.1 a.example\n")
	becomes(t, c, "192.0.2.2:80 (a.example)")
	if c.Endpoints().Endpoints()[0] != before {
		t.Error("the endpoint is another one")
	}
}

func TestANameThatDoesNotResolveLeavesTheClusterEmpty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := throughRoutes(t, r, dnsCluster("shop", clusterv3.Cluster_STRICT_DNS, "nobody.example"))
	if err := c.Ensure(t.Context()); err != nil || endpointsOf(c) != "" {
		t.Fatalf("got %s, %v", endpointsOf(c), err)
	}
	r.know("192.0.2.1 nobody.example\n")
	becomes(t, c, "192.0.2.1:80 (nobody.example)")
}

func TestUnixSocketsAreEndpoints(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pipe := func(path string) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}},
		}}}
	}
	static := &clusterv3.Cluster{Name: "shop", LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: "shop", Endpoints: []*endpointv3.LocalityLbEndpoints{
		{LbEndpoints: []*endpointv3.LbEndpoint{pipe("/run/a"), pipe("/run/b")}},
	}}}
	c := throughRoutes(t, r, static)
	r.must(c.Ensure(t.Context()))
	if c.Endpoints().Len() != 2 || c.Endpoints().Endpoints()[1].Spec().Name != "/run/b" {
		t.Errorf("got %s", endpointsOf(c))
	}
}
