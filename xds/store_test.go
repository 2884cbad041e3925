package xds_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// sample reads a recorded response.
func sample(tb testing.TB, name string) *discovery.DeltaDiscoveryResponse {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".pb"))
	if err != nil {
		tb.Fatal(err)
	}
	r := &discovery.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(b, r); err != nil {
		tb.Fatal(err)
	}
	return r
}

func newStore(tb testing.TB) *xds.Store {
	tb.Helper()
	s, err := xds.NewStore(wire.Rules{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// apply commits resources, given as messages, and expects all to be accepted.
func apply(tb testing.TB, s *xds.Store, typeURL string, removed []string, resources ...*discovery.Resource) xds.Change {
	tb.Helper()
	b, err := s.Begin(typeURL)
	if err != nil {
		tb.Fatal(err)
	}
	for _, r := range resources {
		if err := b.Add([]byte(r.Name), r.Resource.Value); err != nil {
			tb.Fatal(err)
		}
	}
	for _, n := range removed {
		b.Remove([]byte(n))
	}
	c, err := b.Commit("v")
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// resource packs a message.
func resource(tb testing.TB, name string, m proto.Message) *discovery.Resource {
	tb.Helper()
	a, err := anypb.New(m)
	if err != nil {
		tb.Fatal(err)
	}
	return &discovery.Resource{Name: name, Resource: a}
}

// reshuffled marshals a resource anew, until map entries come in another order where there are some.
func reshuffled(tb testing.TB, r *discovery.Resource) *discovery.Resource {
	tb.Helper()
	m, err := r.Resource.UnmarshalNew()
	if err != nil {
		tb.Fatal(err)
	}
	for range 8 {
		if out := resource(tb, r.Name, m); string(out.Resource.Value) != string(r.Resource.Value) {
			return out
		}
	}
	return r
}

func TestStoreGivesBackWhatItGot(t *testing.T) {
	s := newStore(t)
	for _, f := range []string{"web/CDS", "web/EDS", "web/LDS", "web/RDS", "reviews-v1/LDS", "vm-none/CDS", "db/RDS"} {
		r := sample(t, f)
		apply(t, s, r.TypeUrl, nil, r.Resources...)
		for _, x := range r.Resources {
			got, ok := s.Raw(r.TypeUrl, x.Name)
			if !ok || string(got) != string(x.Resource.Value) {
				t.Errorf("%s %s: found %v, %d bytes, want %d", f, x.Name, ok, len(got), len(x.Resource.Value))
			}
		}
	}
	u := s.Usage()
	t.Logf("%d resources, %d bytes received, %d stored, %d garbage", u.Resources, u.Raw, u.Packed, u.Garbage)
}

func TestRepeatedPushChangesNothing(t *testing.T) {
	for _, f := range []string{"web/CDS", "web/EDS", "web/LDS", "web/RDS"} {
		t.Run(f, func(t *testing.T) {
			s := newStore(t)
			r := sample(t, f)
			if c := apply(t, s, r.TypeUrl, nil, r.Resources...); len(c.Changed) != len(r.Resources) {
				t.Fatalf("first push: %d changed, want %d", len(c.Changed), len(r.Resources))
			}
			differ := 0
			for range 3 {
				var again []*discovery.Resource
				for _, x := range r.Resources {
					y := reshuffled(t, x)
					if string(y.Resource.Value) != string(x.Resource.Value) {
						differ++
					}
					again = append(again, y)
				}
				if c := apply(t, s, r.TypeUrl, nil, again...); !c.Empty() || c.Unchanged != len(r.Resources) {
					t.Errorf("equal push: changed %v, removed %v, %d unchanged", c.Changed, c.Removed, c.Unchanged)
				}
			}
			t.Logf("%d resources came as different bytes", differ)
		})
	}
}

func TestRemoval(t *testing.T) {
	s := newStore(t)
	r := sample(t, "web/CDS")
	apply(t, s, r.TypeUrl, nil, r.Resources...)
	name := r.Resources[0].Name
	c := apply(t, s, r.TypeUrl, []string{name, "never seen"})
	if !slices.Equal(c.Removed, []string{name}) {
		t.Errorf("got %v, want only %s", c.Removed, name)
	}
	if _, ok := s.Get(r.TypeUrl, name); ok {
		t.Error("a removed resource is still there")
	}
	got := slices.Collect(s.Names(r.TypeUrl))
	if len(got) != len(r.Resources)-1 || slices.Contains(got, name) {
		t.Errorf("names: %v", got)
	}
}

func TestChangedVirtualHostsAreNamed(t *testing.T) {
	s := newStore(t)
	host := func(name, response string) *route.VirtualHost {
		return &route.VirtualHost{Name: name, Domains: []string{name + ".example"}, RequestHeadersToRemove: []string{response}}
	}
	rc := func(removed string, hosts ...*route.VirtualHost) *discovery.Resource {
		return resource(t, "80", &route.RouteConfiguration{Name: "80", InternalOnlyHeaders: []string{removed}, VirtualHosts: hosts})
	}
	apply(t, s, xds.TypeRoute, nil, rc("x", host("a", "1"), host("b", "1"), host("c", "1")))
	before, _ := s.Lookup("80", "c.example")
	c := apply(t, s, xds.TypeRoute, nil, rc("x", host("c", "1"), host("b", "2"), host("d", "1")))
	if len(c.Routes) != 1 {
		t.Fatalf("got %+v", c)
	}
	got := c.Routes[0]
	if got.New || got.Top || !slices.Equal(got.Changed, []string{"b", "d"}) || !slices.Equal(got.Removed, []string{"a"}) {
		t.Errorf("got %+v, want b and d changed, a removed", got)
	}
	after, ok := s.Lookup("80", "c.example")
	if !ok || after.ID != before.ID {
		t.Errorf("an unchanged virtual host has another ID: %v, %v", before, after)
	}
	if b, ok := s.VHost(nil, before); !ok || string(wire.Name(b)) != "c" {
		t.Errorf("a reference from before the move gives %q, %v", wire.Name(b), ok)
	}
	if _, ok := s.Lookup("80", "a.example"); ok {
		t.Error("a stale domain is found")
	}
	c = apply(t, s, xds.TypeRoute, nil, rc("y", host("c", "1"), host("b", "2"), host("d", "1")))
	if len(c.Routes) != 1 || !c.Routes[0].Top || len(c.Routes[0].Changed) != 0 {
		t.Errorf("got %+v, want only the top changed", c.Routes)
	}
}

func TestLookupFollowsEnvoysOrder(t *testing.T) {
	s := newStore(t)
	domains := map[string][]string{
		"exact": {"a.foo.com", "UPPER.com"}, "long": {"*.bar.foo.com"}, "short": {"*.foo.com"}, "dash": {"*-bar.foo.com"},
		"prefix": {"foo.*"}, "longer": {"foo.bar.*"}, "rest": {"*"},
	}
	rc := &route.RouteConfiguration{Name: "80"}
	for _, n := range slices.Sorted(maps.Keys(domains)) {
		rc.VirtualHosts = append(rc.VirtualHosts, &route.VirtualHost{Name: n, Domains: domains[n]})
	}
	apply(t, s, xds.TypeRoute, nil, resource(t, "80", rc))
	for host, want := range map[string]string{
		"a.foo.com": "exact", "upper.com": "exact", "b.foo.com": "short", "x.bar.foo.com": "long", "x-bar.foo.com": "dash",
		".foo.com": "rest", "foo.com": "prefix", "foo.bar.baz": "longer", "foo.": "rest", "": "rest", "other": "rest",
	} {
		ref, ok := s.Lookup("80", host)
		if !ok {
			t.Errorf("%q: not found", host)
			continue
		}
		b, _ := s.VHost(nil, ref)
		if got := string(wire.Name(b)); got != want {
			t.Errorf("%q: got %s, want %s", host, got, want)
		}
	}
	if _, ok := s.Lookup("81", "a.foo.com"); ok {
		t.Error("found in a route that does not exist")
	}
}

func TestBadResourcesAreNamedAndGoodOnesKept(t *testing.T) {
	s := newStore(t)
	r := sample(t, "web/CDS")
	b, err := s.Begin(r.TypeUrl)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add([]byte(r.Resources[0].Name), r.Resources[0].Resource.Value); err != nil {
		t.Fatal(err)
	}
	err = b.Add([]byte("bad"), []byte{0x0a, 0x7f})
	if want := `cluster "bad": name: truncated`; err == nil || err.Error() != want && err.Error() != `cluster "bad": truncated` {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := b.Add([]byte(r.Resources[0].Name), r.Resources[0].Resource.Value); err == nil {
		t.Error("a resource that comes twice was accepted")
	}
	if n := s.Count(r.TypeUrl); n != 0 {
		t.Errorf("%d resources are visible before the commit", n)
	}
	if _, err := b.Commit("1"); err != nil {
		t.Fatal(err)
	}
	if n := s.Count(r.TypeUrl); n != 1 {
		t.Errorf("got %d resources, want 1", n)
	}
}

func TestMemoryOfReplacedResourcesComesBack(t *testing.T) {
	s := newStore(t)
	for round := range 60 {
		var rs []*discovery.Resource
		var hosts []*route.VirtualHost
		for i := range 100 {
			hosts = append(hosts, &route.VirtualHost{
				Name: fmt.Sprintf("h%d", i), Domains: []string{fmt.Sprintf("h%d.example", i)},
				RequestHeadersToRemove: []string{fmt.Sprintf("%x-%d", uint64(round*7919+i)*0x9e3779b97f4a7c15, round)},
			})
		}
		for i := range 20 {
			rs = append(rs, resource(t, strconv.Itoa(i), &route.RouteConfiguration{Name: strconv.Itoa(i), VirtualHosts: hosts}))
		}
		apply(t, s, xds.TypeRoute, nil, rs...)
	}
	u := s.Usage()
	if u.Garbage > 3<<20 {
		t.Errorf("%d bytes of garbage beside %d in use", u.Garbage, u.Packed)
	}
	ref, ok := s.Lookup("7", "h42.example")
	b, _ := s.VHost(nil, ref)
	if !ok || string(wire.Name(b)) != "h42" {
		t.Errorf("after compaction: %v %q", ok, wire.Name(b))
	}
}
