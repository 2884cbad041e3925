//go:build !race

package authz_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/authz"
	"github.com/outrigger-mesh/outrigger/match"
)

// typical is an ALLOW policy of three rules as istiod spells it; the last matches.
func typical(t testing.TB) *authz.Set {
	t.Helper()
	rule := func(name, id, method, path string, port uint16) authz.Policy {
		return authz.Policy{
			Name: name,
			Permissions: []authz.Clause{authz.And(
				authz.Or(header(t, ":method", method)), authz.Or(authz.Path(text(t, match.Prefix, path))), authz.Or(ports(t, port, port)),
			)},
			Principals: []authz.Clause{authz.And(authz.Or(principal(t, match.Exact, id)))},
		}
	}
	return set(t, authz.Allow,
		rule("ns[shop]-policy[reviews]-rule[0]", webID, "POST", "/reviews/", 9080),
		rule("ns[shop]-policy[reviews]-rule[1]", webID+"-other", "GET", "/reviews/", 9080),
		rule("ns[shop]-policy[reviews]-rule[2]", webID, "GET", "/reviews/", 9080),
	)
}

func TestCheckAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts allocations
	s, f := typical(t), facts()
	if n := testing.AllocsPerRun(100, func() {
		fresh := authz.Facts{Conn: f.Conn, Request: f.Request, Remote: f.Remote}
		if d := s.Check(&fresh); !d.Allowed {
			t.Fatalf("got %+v", d)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	s, f := typical(b), facts()
	b.ReportAllocs()
	for b.Loop() {
		fresh := authz.Facts{Conn: f.Conn, Request: f.Request, Remote: f.Remote}
		if !s.Check(&fresh).Allowed {
			b.Fatal("denied")
		}
	}
}
