//go:build !race

package xds_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/xds"
)

func TestReadingDoesNotAllocate(t *testing.T) {
	s := newStore(t)
	for _, f := range []string{"web/RDS", "web/CDS"} {
		r := sample(t, f)
		apply(t, s, r.TypeUrl, nil, r.Resources...)
	}
	const cluster = "outbound|9080||reviews.shop.svc.cluster.local"
	buf := make([]byte, 0, 64<<10)
	for name, read := range map[string]func() bool{
		"get":    func() bool { _, ok := s.Append(buf, xds.TypeCluster, cluster); return ok },
		"lookup": func() bool { _, ok := s.Lookup("80", "no.such.host"); return ok },
		"vhost": func() bool {
			ref, _ := s.Lookup("80", "no.such.host")
			_, ok := s.VHost(buf, ref)
			return ok
		},
	} {
		if !read() {
			t.Errorf("%s: nothing found", name)
		}
		if got := testing.AllocsPerRun(100, func() { read() }); got > 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func TestUnchangedPushCostsLittle(t *testing.T) {
	s := newStore(t)
	r := sample(t, "web/CDS")
	apply(t, s, r.TypeUrl, nil, r.Resources...)
	got := testing.AllocsPerRun(20, func() {
		b, err := s.Begin(r.TypeUrl)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.Resources {
			if err := b.Add(nameBytes[:copy(nameBytes[:], x.Name)], x.Resource.Value); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Commit("v"); err != nil {
			t.Fatal(err)
		}
	})
	if got > 12 {
		t.Errorf("%v allocations for %d unchanged resources", got, len(r.Resources))
	}
}

var nameBytes [256]byte
