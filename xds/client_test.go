package xds_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/xds"
)

// edsCluster is a cluster whose endpoints are discovered.
func edsCluster(t *testing.T, name string) *discovery.Resource {
	t.Helper()
	return resource(t, name, &cluster.Cluster{
		Name: name, ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: &core.ConfigSource{
			ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		}},
	})
}

func assignment(t *testing.T, name string) *discovery.Resource {
	t.Helper()
	return resource(t, name, &endpoint.ClusterLoadAssignment{ClusterName: name})
}

func TestSubscriptionsFollowReferences(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	c, h := start(t, s, func(c *xds.Config) { c.NameTable = true })
	p := s.accept()
	if r := p.request(xds.TypeCluster); r.Node.GetId() == "" || len(r.ResourceNamesSubscribe) > 0 || r.ResponseNonce != "" {
		t.Errorf("first request: %v", r)
	}
	if r := p.push(xds.TypeCluster, nil, edsCluster(t, "a"), edsCluster(t, "b")); r.ErrorDetail != nil {
		t.Errorf("got %v, want an ACK", r)
	}
	r := p.request(xds.TypeEndpoint)
	slices.Sort(r.ResourceNamesSubscribe)
	if !slices.Equal(r.ResourceNamesSubscribe, []string{"a", "b"}) || r.Node != nil {
		t.Errorf("got %v, want a and b", r)
	}
	p.request(xds.TypeListener)
	p.push(xds.TypeEndpoint, nil, assignment(t, "a"), assignment(t, "b"))
	lds := sample(t, "web/LDS")
	p.push(xds.TypeListener, nil, lds.Resources...)
	if r := p.request(xds.TypeRoute); len(r.ResourceNamesSubscribe) == 0 {
		t.Errorf("got %v, want the routes of the listeners", r)
	}
	p.request(xds.TypeNameTable)
	p.push(xds.TypeCluster, []string{"b"})
	if r := p.request(xds.TypeEndpoint); !slices.Equal(r.ResourceNamesUnsubscribe, []string{"b"}) {
		t.Errorf("got %v, want b unsubscribed", r)
	}
	eventually(t, "the endpoints of b are dropped", func() bool {
		return slices.Equal(h.last(xds.TypeEndpoint).Removed, []string{"b"}) && c.Store().Count(xds.TypeEndpoint) == 1
	})
}

func TestRejectionKeepsGoodResources(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	c, _ := start(t, s, nil)
	p := s.accept()
	p.request(xds.TypeCluster)
	bad := edsCluster(t, "bad")
	bad.Resource.Value = append(bad.Resource.Value, 0xff)
	r := p.push(xds.TypeCluster, nil, edsCluster(t, "a"), bad)
	if r.ErrorDetail == nil || !strings.Contains(r.ErrorDetail.Message, `cluster "bad"`) || r.ErrorDetail.Code != int32(codes.Internal) {
		t.Errorf("got %v, want a rejection that names the cluster", r)
	}
	if _, ok := c.Store().Get(xds.TypeCluster, "a"); !ok {
		t.Error("the good cluster was not applied")
	}
	if st := c.Status().Types[0]; !st.Synced || st.Accepted || !strings.Contains(st.LastNACK, "bad") {
		t.Errorf("status: %+v", st)
	}
	got := maps.Collect(c.Counters())
	if got["cds.update_rejected"] != 1 || got["cds.update_success"] != 0 {
		t.Errorf("counters: %v", got)
	}
}

func TestErrorOfTheHandlerIsInTheRejection(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	start(t, s, func(c *xds.Config) { c.Handler = &recorder{fail: errors.New("does not compile")} })
	p := s.accept()
	p.request(xds.TypeCluster)
	if r := p.push(xds.TypeCluster, nil, edsCluster(t, "a")); !strings.Contains(r.ErrorDetail.GetMessage(), "does not compile") {
		t.Errorf("got %v", r)
	}
}

func TestRejectionIsBounded(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	start(t, s, func(c *xds.Config) { c.Handler = &recorder{fail: errors.New(strings.Repeat("ä", 10_000))} })
	p := s.accept()
	p.request(xds.TypeCluster)
	if r := p.push(xds.TypeCluster, nil); len(r.ErrorDetail.GetMessage()) > 4<<10 || len(r.ErrorDetail.GetMessage()) < 4000 {
		t.Errorf("got %d bytes", len(r.ErrorDetail.GetMessage()))
	}
}

func TestReconnectOffersWhatIsHeldAndReconciles(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	c, h := start(t, s, nil)
	p := s.accept()
	p.request(xds.TypeCluster)
	p.push(xds.TypeCluster, nil, edsCluster(t, "a"), edsCluster(t, "b"), edsCluster(t, "c"))
	p.request(xds.TypeEndpoint)
	p.request(xds.TypeListener)
	p.push(xds.TypeEndpoint, nil, assignment(t, "a"), assignment(t, "b"), assignment(t, "c"))
	p.end <- nil
	p = s.accept()
	r := p.request(xds.TypeCluster)
	if got := slices.Sorted(maps.Keys(r.InitialResourceVersions)); !slices.Equal(got, []string{"a", "b", "c"}) || r.Node == nil {
		t.Errorf("got %v, want the held names and the node", r)
	}
	if n := c.Store().Count(xds.TypeCluster); n != 3 {
		t.Errorf("%d clusters survived the loss of connection, want 3", n)
	}
	// "b" is rejected and so stays; "c" is not named any more.
	bad := edsCluster(t, "b")
	bad.Resource.Value = append(bad.Resource.Value, 0xff)
	p.push(xds.TypeCluster, nil, edsCluster(t, "a"), bad)
	if got := h.last(xds.TypeCluster); !slices.Equal(got.Removed, []string{"c"}) || len(got.Changed) > 0 {
		t.Errorf("got %+v, want only c removed", got)
	}
	r = p.request(xds.TypeEndpoint)
	if len(r.ResourceNamesUnsubscribe) > 0 {
		t.Errorf("a new stream was told to unsubscribe: %v", r)
	}
	slices.Sort(r.ResourceNamesSubscribe)
	if !slices.Equal(r.ResourceNamesSubscribe, []string{"a", "b"}) || len(r.InitialResourceVersions) != 2 {
		t.Errorf("got %v, want a and b, held", r)
	}
}

func TestNamesAreAskedForInBatches(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	c, _ := start(t, s, nil)
	p := s.accept()
	p.request(xds.TypeCluster)
	var rs []*discovery.Resource
	for i := range 1200 {
		rs = append(rs, edsCluster(t, fmt.Sprintf("c%d", i)))
	}
	p.push(xds.TypeCluster, nil, rs...)
	asked := p.request(xds.TypeEndpoint)
	p.request(xds.TypeListener)
	for n := 0; n < 1200; {
		if len(asked.ResourceNamesSubscribe) > 500 {
			t.Fatalf("%d names at once", len(asked.ResourceNamesSubscribe))
		}
		n += len(asked.ResourceNamesSubscribe)
		var answer []*discovery.Resource
		for _, name := range asked.ResourceNamesSubscribe {
			answer = append(answer, assignment(t, name))
		}
		p.push(xds.TypeEndpoint, nil, answer...)
		if n < 1200 {
			asked = p.request(xds.TypeEndpoint)
		}
	}
	if st := c.Status().Types[1]; !st.Synced || st.Count != 1200 {
		t.Errorf("status: %+v", st)
	}
}

func TestTokenIsReadForEachStream(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	s := serve(t, "127.0.0.1:0", nil)
	start(t, s, func(c *xds.Config) {
		c.Connect.TokenFile, c.Connect.Headers = file, map[string]string{"clusterid": "Kubernetes"}
	})
	for _, want := range []string{"Bearer one", "Bearer two"} {
		p := s.accept()
		md, _ := metadata.FromIncomingContext(p.stream.Context())
		if got := md.Get("authorization"); !slices.Equal(got, []string{want}) || !slices.Equal(md.Get("clusterid"), []string{"Kubernetes"}) {
			t.Errorf("got %v, want %s", md, want)
		}
		write("two")
		p.end <- nil
	}
}

func TestReasonSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		name   string
		refuse error
		change func(*xds.Config)
		want   string
	}{
		{"no token file", status.Error(codes.Unauthenticated, "x"), func(c *xds.Config) { c.Connect.TokenFile = "/does/not/exist" }, "mount the istio-token volume"},
		{"no token configured", status.Error(codes.Unauthenticated, "x"), nil, "no token file is configured"},
		{"wrong identity", status.Error(codes.PermissionDenied, "x"), nil, "does not belong to this node"},
		{"rate limit", status.Error(codes.ResourceExhausted, "x"), nil, "limits the rate"},
		{"nobody listens", nil, func(c *xds.Config) { c.Address = "127.0.0.1:1" }, "refuses connections"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := start(t, serve(t, "127.0.0.1:0", tt.refuse), tt.change)
			eventually(t, tt.want, func() bool { return strings.Contains(c.Status().Reason, tt.want) })
			if c.Status().Connected {
				t.Error("connected")
			}
		})
	}
	t.Run("wrong root", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "127.0.0.1:0", nil)
		s.roots = x509.NewCertPool()
		c, _ := start(t, s, nil)
		eventually(t, "wrong root", func() bool { return strings.Contains(c.Status().Reason, "not signed by the mesh root") })
	})
}
