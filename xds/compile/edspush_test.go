package compile_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/compile"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// workloads is an assignment as istiod makes it, in five localities. Endpoint odd is
// another one in each version.
func workloads(name string, n, version int) *endpointv3.ClusterLoadAssignment {
	cla := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	odd := n / 3
	for l := range 5 {
		group := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: "region", Zone: fmt.Sprintf("zone-%d", l)},
			LoadBalancingWeight: wrapperspb.UInt32(uint32(n / 5)), //nolint:gosec // small
		}
		for i := l; i < n; i += 5 {
			ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
			if i == odd {
				ip = fmt.Sprintf("10.200.%d.%d", version>>8, version&255)
			}
			group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
				HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(ip, 8080)}},
				HealthStatus:        corev3.HealthStatus_HEALTHY,
				LoadBalancingWeight: wrapperspb.UInt32(1),
				Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
					"envoy.transport_socket_match": {Fields: map[string]*structpb.Value{"tlsMode": structpb.NewStringValue("istio")}},
					"istio":                        {Fields: map[string]*structpb.Value{"workload": structpb.NewStringValue(fmt.Sprintf("reviews-%d;shop;reviews;v1;Kubernetes", i))}},
				}},
			})
		}
		cla.Endpoints = append(cla.Endpoints, group)
	}
	return cla
}

// pushOne has one of n endpoints change as often as next is called.
func pushOne(tb testing.TB, n int, policy clusterv3.Cluster_LbPolicy) (next func()) {
	tb.Helper()
	r := newRig(tb)
	cluster := edsCluster("c")
	cluster.LbPolicy = policy
	r.must(r.send(xds.TypeCluster, nil, cluster))
	r.must(r.send(xds.TypeEndpoint, nil, workloads("c", n, 0)))
	c := r.compiler.Cluster("c")
	if err := c.Ensure(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	var bodies [4][]byte
	for i := range bodies {
		body, err := proto.MarshalOptions{}.Marshal(workloads("c", n, i+1))
		if err != nil {
			tb.Fatal(err)
		}
		bodies[i] = body
	}
	pushes := 0
	return func() {
		batch, err := r.store.Begin(xds.TypeEndpoint)
		if err != nil {
			tb.Fatal(err)
		}
		if err := batch.Add([]byte("c"), bodies[pushes%len(bodies)]); err != nil {
			tb.Fatal(err)
		}
		pushes++
		change, err := batch.Commit("1")
		if err != nil {
			tb.Fatal(err)
		}
		if err := r.compiler.Apply(change); err != nil {
			tb.Fatal(err)
		}
	}
}

// FuzzFollow holds the reading of an update against decoding it alone.
func FuzzFollow(f *testing.F) {
	checker, err := wire.NewChecker(compile.Rules())
	if err != nil {
		f.Fatal(err)
	}
	add := func(edits ...func(cla *endpointv3.ClusterLoadAssignment)) {
		first := workloads("c", 10, 1)
		second := workloads("c", 10, 1)
		for _, edit := range edits {
			edit(second)
		}
		a, errA := proto.Marshal(first)
		b, errB := proto.Marshal(second)
		if errA != nil || errB != nil {
			f.Fatal(errA, errB)
		}
		f.Add(a, b)
		f.Add(b, a)
	}
	endpoint := func(edit func(e *endpointv3.LbEndpoint)) func(*endpointv3.ClusterLoadAssignment) {
		return func(cla *endpointv3.ClusterLoadAssignment) { edit(cla.GetEndpoints()[2].GetLbEndpoints()[1]) }
	}
	add()
	add(endpoint(func(e *endpointv3.LbEndpoint) { e.HealthStatus = corev3.HealthStatus_DRAINING }))
	add(endpoint(func(e *endpointv3.LbEndpoint) { e.LoadBalancingWeight = wrapperspb.UInt32(7) }))
	add(endpoint(func(e *endpointv3.LbEndpoint) { e.LoadBalancingWeight = nil }))
	add(endpoint(func(e *endpointv3.LbEndpoint) { e.GetEndpoint().Hostname = "h" }))
	add(endpoint(func(e *endpointv3.LbEndpoint) { e.GetEndpoint().Address = address("fd00::1", 80) }))
	add(endpoint(func(e *endpointv3.LbEndpoint) { e.GetEndpoint().Address = address("::ffff:10.0.0.1", 80) }))
	add(endpoint(func(e *endpointv3.LbEndpoint) { e.Metadata = nil }))
	add(endpoint(func(e *endpointv3.LbEndpoint) {
		e.Metadata.FilterMetadata["istio"].Fields["x"] = structpb.NewBoolValue(true)
	}))
	add(endpoint(func(e *endpointv3.LbEndpoint) {
		e.Metadata.FilterMetadata["envoy.transport_socket_match"].Fields["x"] = structpb.NewStringValue("istio")
	}))
	add(endpoint(func(e *endpointv3.LbEndpoint) {
		e.Metadata.FilterMetadata["envoy.lb"] = &structpb.Struct{Fields: map[string]*structpb.Value{"hash_key": structpb.NewStringValue("k")}}
	}))
	add(func(cla *endpointv3.ClusterLoadAssignment) { cla.Endpoints[1].Priority = 1 })
	add(func(cla *endpointv3.ClusterLoadAssignment) { cla.Endpoints[1].Locality.Zone = "elsewhere" })
	add(func(cla *endpointv3.ClusterLoadAssignment) { cla.Endpoints = cla.GetEndpoints()[1:] })
	add(func(cla *endpointv3.ClusterLoadAssignment) { slices.Reverse(cla.GetEndpoints()) })
	f.Fuzz(func(t *testing.T, first, second []byte) {
		walker := wire.NewWalker(checker)
		for _, b := range [][]byte{first, second} {
			if _, err := walker.Walk("envoy.config.endpoint.v3.ClusterLoadAssignment", b, false); err != nil {
				return // never given to the compiler
			}
		}
		before, _, err := compile.Decoded(first, lb.NewSet(nil, nil, lb.Policy{}))
		if err != nil {
			return
		}
		alone, follows, err := compile.Decoded(second, lb.NewSet(nil, before, lb.Policy{}))
		if err != nil {
			return
		}
		if len(alone) != len(follows) {
			t.Fatalf("got %d endpoints, want %d", len(follows), len(alone))
		}
		for i := range alone {
			if !reflect.DeepEqual(&alone[i], follows[i]) {
				t.Errorf("endpoint %d: got %+v, want %+v", i, *follows[i], alone[i])
			}
		}
	})
}

// TestUnchangedEndpointsAreNotDecoded: their specs are those that they had.
func TestUnchangedEndpointsAreNotDecoded(t *testing.T) {
	t.Parallel()
	bodies := make([][]byte, 2)
	for i := range bodies {
		var err error
		if bodies[i], err = proto.Marshal(workloads("c", 100, i)); err != nil {
			t.Fatal(err)
		}
	}
	before, _, err := compile.Decoded(bodies[0], lb.NewSet(nil, nil, lb.Policy{}))
	if err != nil {
		t.Fatal(err)
	}
	set := lb.NewSet(nil, before, lb.Policy{})
	known := make(map[*lb.EndpointSpec]bool)
	for _, e := range set.Endpoints() {
		known[e.Spec()] = true
	}
	_, follows, err := compile.Decoded(bodies[1], set)
	if err != nil {
		t.Fatal(err)
	}
	fresh := slices.DeleteFunc(follows, func(s *lb.EndpointSpec) bool { return known[s] })
	if len(fresh) != 1 {
		t.Errorf("%d of 100 endpoints were decoded, want 1", len(fresh))
	}
}

func BenchmarkOneEndpointChanges(b *testing.B) {
	for _, n := range []int{10, 10000} {
		for _, policy := range []clusterv3.Cluster_LbPolicy{clusterv3.Cluster_LEAST_REQUEST, clusterv3.Cluster_RING_HASH} {
			b.Run(fmt.Sprintf("%d/%v", n, policy), func(b *testing.B) {
				next := pushOne(b, n, policy)
				next()
				b.ReportAllocs()
				for b.Loop() {
					next()
				}
			})
		}
	}
}
