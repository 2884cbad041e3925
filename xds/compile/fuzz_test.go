package compile_test

import (
	"context"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/xds"
)

// FuzzListener gives arbitrary bytes to what judges listeners: it must neither
// panic nor take long, and what it accepts must be buildable.
func FuzzListener(f *testing.F) {
	for _, file := range []string{"web/LDS.pb", "db/LDS.pb", "vm-none/LDS.pb"} {
		for _, body := range recorded(f, file) {
			f.Add(body)
		}
	}
	r := newRig(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		start := time.Now()
		_ = r.compiler.Check(xds.TypeListener, "fuzz", body)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("took %v for %d bytes", took, len(body))
		}
	})
}

// FuzzFirstUse stores arbitrary bytes as a cluster, an assignment and a route
// configuration, where the rules accept them, and uses each.
func FuzzFirstUse(f *testing.F) {
	for _, file := range []string{"web/CDS.pb", "web/EDS.pb", "web/RDS.pb"} {
		for _, body := range recorded(f, file) {
			f.Add(body, "reviews.shop.svc.cluster.local:9080")
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, authority string) {
		r := newRig(t)
		for _, typeURL := range []string{xds.TypeCluster, xds.TypeEndpoint, xds.TypeRoute} {
			batch, err := r.store.Begin(typeURL)
			if err != nil {
				t.Fatal(err)
			}
			if batch.Add([]byte("fuzz"), body) != nil {
				r.compiler.Refused(typeURL, "fuzz", body, context.Canceled)
			}
			change, err := batch.Commit("1")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.compiler.Apply(change); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // what has not arrived is not waited for
		if err := r.compiler.Cluster("fuzz").Ensure(ctx); err == nil {
			_ = r.compiler.Cluster("fuzz").Endpoints().Len()
		}
		if _, known := r.store.RouteTop("fuzz"); known {
			_, _ = r.compiler.Routes("fuzz").Match(request(authority), 7)
		}
	})
}
