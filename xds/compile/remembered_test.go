package compile_test

import (
	"fmt"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/xds"
)

// manyHosts pushes a route configuration of n hosts, a wildcard and "*", and asks for
// each of them once.
func manyHosts(t testing.TB, n int) *rig {
	t.Helper()
	r := newRig(t)
	hosts := []*routev3.VirtualHost{host("any", "any", "*"), host("wild", "wild", "*.wild.example")}
	for i := range n {
		name := fmt.Sprintf("h%05d.example", i)
		hosts = append(hosts, host(name, "a", name))
	}
	var m proto.Message = routes("80", hosts...)
	r.must(r.send(xds.TypeRoute, nil, m))
	table := r.compiler.Routes("80")
	for i := range n {
		name := fmt.Sprintf("h%05d.example", i)
		if rule, ok := table.Match(request(name), 0); !ok || rule.Name != name {
			t.Fatalf("%s: got %v", name, rule)
		}
	}
	return r
}

func TestEveryHostOfManyIsFoundAgain(t *testing.T) {
	t.Parallel()
	const n = 1000
	table := manyHosts(t, n).compiler.Routes("80")
	for _, c := range []struct{ host, want string }{
		{"h00000.example", "h00000.example"},
		{"h00999.example:80", "h00999.example"},
		{"H00500.example", "h00500.example"},
		{"x.wild.example", "wild"},
		{"x.wild.example", "wild"},
		{"else.example", "any"},
		{"else.example", "any"},
	} {
		if rule, ok := table.Match(request(c.host), 0); !ok || rule.Name != c.want {
			t.Errorf("%s: got %v, want %s", c.host, rule, c.want)
		}
	}
	for i := range 5000 { // names without end take no room
		if rule, ok := table.Match(request(fmt.Sprintf("x%d.wild.example", i)), 0); !ok || rule.Name != "wild" {
			t.Fatalf("x%d: got %v", i, rule)
		}
	}
}

func BenchmarkLiveHosts(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		for name, host := range map[string]string{"exact": fmt.Sprintf("h%05d.example", n-1), "wildcard": "x.wild.example", "any": "else.example"} {
			b.Run(fmt.Sprintf("%s of %d", name, n), func(b *testing.B) {
				table, r := manyHosts(b, n).compiler.Routes("80"), request(host)
				b.ReportAllocs()
				for b.Loop() {
					if _, ok := table.Match(r, 7); !ok {
						b.Fatal("no rule")
					}
				}
			})
		}
	}
}
