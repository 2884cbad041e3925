//go:build !race

package metrics_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/telemetry/metrics"
)

func record() *flow.Record {
	r := &flow.Record{HTTP: true, Duration: 3 * time.Millisecond}
	r.Request.Bytes, r.Response.Bytes, r.Response.Status = 10, 1024, 200
	return r
}

func TestObserveDoesNotAllocate(t *testing.T) {
	flows := metrics.NewFlows(&metrics.Registry{})
	h, c, r := flows.HTTP("p", flow.Outbound), flows.TCP("t"), record()
	r.Flags.Set(flow.UpstreamConnectionFailure)
	if n := testing.AllocsPerRun(100, func() { h.Observe(r); c.Observe(r) }); n != 0 {
		t.Errorf("%v allocations per record, want 0", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	h, r := metrics.NewFlows(&metrics.Registry{}).HTTP("p", flow.Outbound), record()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.Observe(r)
		}
	})
}

func BenchmarkScrapeOf1000Clusters(b *testing.B) {
	var reg metrics.Registry
	reg.Add(func(emit metrics.Emit) {
		for i := range 1000 {
			labels := []metrics.Label{{Name: metrics.ClusterName, Value: fmt.Sprintf("outbound|80||s%d.ns.svc.cluster.local", i)}}
			for _, name := range []string{"cluster.upstream_rq_total", "cluster.upstream_cx_total", "cluster.upstream_rq_active", "cluster.upstream_rq_5xx"} {
				emit(name, labels, float64(i), metrics.Counter)
			}
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := reg.WritePrometheus(io.Discard, metrics.Query{}); err != nil {
			b.Fatal(err)
		}
	}
}
