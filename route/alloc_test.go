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
}
