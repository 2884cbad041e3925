//go:build !race

package route_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
)

func TestMatchDoesNotAllocate(t *testing.T) {
	v := host(t, "h", route.Entry[string]{Matcher: path(route.PathExact, "/no")}, route.Entry[string]{Matcher: path(route.PathPrefix, "/"), Value: "x"})
	table, err := route.NewTable([]route.Hosts[string]{{Domains: []string{"reviews"}, Host: v}, {Domains: []string{"*.example.com"}, Host: v}})
	if err != nil {
		t.Fatal(err)
	}
	r := &httpmsg.Request{Method: "GET", Authority: "reviews:9080", Path: "/x?y=1"}
	if n := testing.AllocsPerRun(100, func() { table.Match(r, 1) }); n != 0 {
		t.Errorf("a route match allocates %v times, want 0", n)
	}
	for _, form := range []string{exactForm, suffixForm, prefixForm} {
		table, r := manyHosts(t, 1000, form)
		if n := testing.AllocsPerRun(100, func() { table.Match(r, 1) }); n != 0 {
			t.Errorf("%s: a match allocates %v times, want 0", form, n)
		}
	}
	for _, kind := range []route.PathKind{route.PathPrefix, route.PathExact, route.PathSeparated} {
		v, r := manyRoutes(t, 1000, kind)
		if n := testing.AllocsPerRun(100, func() { v.Match(r, 1) }); n != 0 {
			t.Errorf("kind %d: a match allocates %v times, want 0", kind, n)
		}
	}
	m := path(route.PathPrefix, "/Any")
	m.Path.AnyCase = true
	entries := make([]route.Entry[string], 20)
	for i := range entries {
		entries[i] = route.Entry[string]{Matcher: m, Value: "x"}
	}
	folded, r := host(t, "folded", entries...), &httpmsg.Request{Method: "GET", Path: "/aNY/x"}
	if n := testing.AllocsPerRun(100, func() { folded.Match(r, 1) }); n != 0 {
		t.Errorf("without regard to case a match allocates %v times, want 0", n)
	}
}
