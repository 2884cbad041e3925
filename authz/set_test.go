package authz_test

import (
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/authz"
	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

const webID = "spiffe://cluster.local/ns/shop/sa/web"

func text(t testing.TB, kind match.Kind, pattern string) match.String {
	t.Helper()
	m, err := match.NewString(kind, pattern, false)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exact(t testing.TB, pattern string) match.String {
	t.Helper()
	return text(t, match.Exact, pattern)
}

func header(t testing.TB, name, value string) authz.Clause {
	t.Helper()
	m := exact(t, value)
	return authz.Header(match.NewHeader(match.HeaderSpec{Name: name, Value: &m}))
}

func principal(t testing.TB, kind match.Kind, pattern string) authz.Clause {
	t.Helper()
	m := text(t, kind, pattern)
	return authz.Authenticated(&m)
}

func ports(t testing.TB, low, high uint16) authz.Clause {
	t.Helper()
	c, err := authz.DestinationPorts(low, high)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func set(t testing.TB, action authz.Action, policies ...authz.Policy) *authz.Set {
	t.Helper()
	s, err := authz.NewSet(action, policies)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// facts are those of GET /reviews/7?x=1 from the web account over mutual TLS.
func facts() authz.Facts {
	return authz.Facts{
		Conn: &flow.Conn{
			Direction: flow.Inbound, Remote: netip.MustParseAddrPort("10.0.1.1:40000"), OriginalDst: netip.MustParseAddrPort("10.0.2.1:9080"),
			TLS: flow.TLS{
				SNI: "outbound_.9080_._.reviews", Established: true,
				Peer: flow.Identity{URIs: []string{"spiffe://other/x", webID}, DNS: []string{"web.shop"}, Subject: "O=shop", Hash: "ab"},
			},
		},
		Request: &httpmsg.Request{
			Method: "GET", Path: "/reviews/7?x=1", Authority: "reviews:9080", Scheme: "http",
			Header: httpmsg.Header{Fields: []httpmsg.Field{{Name: "x-role", Value: "user"}, {Name: "x-role", Value: "admin"}}},
		},
		Remote: netip.MustParseAddr("192.0.2.7"),
	}
}

// plain are the facts of the same connection without TLS, and without a request.
func plain() authz.Facts {
	f := facts()
	f.Conn.TLS, f.Request, f.Remote = flow.TLS{}, nil, f.Conn.Remote.Addr()
	return f
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func TestClauses(t *testing.T) {
	t.Parallel()
	reviews := text(t, match.Prefix, "/reviews/")
	whole := exact(t, "/reviews/7")
	sni := text(t, match.Suffix, ".reviews")
	empty := exact(t, "")
	first := exact(t, "spiffe://other/x")
	template, err := authz.NewTemplate("/reviews/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		clause   authz.Clause
		tls, raw bool // over TLS with a request, and without either
	}{
		{"any", authz.Any(), true, true},
		{"nothing", authz.Clause{}, false, false},
		{"and of nothing", authz.And(), true, true},
		{"or of nothing", authz.Or(), false, false},
		{"not", authz.Not(authz.Any()), false, false},
		{"not not", authz.Not(authz.Not(authz.Any())), true, true},
		{"and", authz.And(authz.Path(reviews), ports(t, 9080, 9080)), true, false},
		{"and fails", authz.And(authz.Path(reviews), ports(t, 1, 2)), false, false},
		{"or", authz.Or(authz.Path(reviews), ports(t, 1, 2)), true, false},
		{"method", header(t, ":method", "GET"), true, false},
		{"one of several values", header(t, "x-role", "admin"), true, false},
		{"values are not joined", header(t, "x-role", "user,admin"), false, false},
		{"not a header that is missing", authz.Not(header(t, "x-none", "a")), true, true},
		{"path is without query", authz.Path(whole), true, false},
		{"path of a connection is no path, so not of it is", authz.Not(authz.Path(reviews)), false, true},
		{"template", authz.PathTemplate(template), true, false},
		{"destination address", authz.DestinationIP(prefix("10.0.2.0/24")), true, true},
		{"other destination address", authz.DestinationIP(prefix("10.0.3.0/24")), false, false},
		{"destination port", ports(t, 9000, 9080), true, true},
		{"port above", ports(t, 9081, 65535), false, false},
		{"server name", authz.ServerName(sni), true, false},
		{"no server name is empty", authz.ServerName(empty), false, true},
		{"any authenticated", authz.Authenticated(nil), true, false},
		{"principal, not the first", principal(t, match.Exact, webID), true, false},
		{"principal by prefix", principal(t, match.Prefix, "spiffe://cluster.local/ns/shop/"), true, false},
		{"principal by suffix", principal(t, match.Suffix, "/sa/web"), true, false},
		{"principal by regex", principal(t, match.Regex, ".*/ns/shop/.*"), true, false},
		{"other principal", principal(t, match.Exact, webID+"x"), false, false},
		{"not a principal is true in plain text", authz.Not(principal(t, match.Exact, webID)), false, true},
		{"DNS name", principal(t, match.Exact, "web.shop"), true, false},
		{"subject", principal(t, match.Exact, "O=shop"), true, false},
		{"peer is the first URI", authz.Peer(first), true, false},
		{"direct address", authz.DirectIP(prefix("10.0.1.0/24")), true, true},
		{"remote address", authz.RemoteIP(prefix("192.0.2.0/24")), true, false},
		{"remote address of a connection", authz.RemoteIP(prefix("10.0.1.1/32")), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := set(t, authz.Allow, authz.Policy{Name: "p", Permissions: []authz.Clause{c.clause}, Principals: []authz.Clause{authz.Any()}})
			with, without := facts(), plain()
			if got := s.Check(&with).Allowed; got != c.tls {
				t.Errorf("with TLS and request: got %v, want %v", got, c.tls)
			}
			if got := s.Check(&without).Allowed; got != c.raw {
				t.Errorf("without: got %v, want %v", got, c.raw)
			}
		})
	}
}

func TestMappedAddressesAreThoseTheyMap(t *testing.T) {
	t.Parallel()
	s := set(t, authz.Allow, authz.Policy{
		Name: "p", Permissions: []authz.Clause{authz.Any()}, Principals: []authz.Clause{authz.DirectIP(prefix("10.0.1.0/24"))},
	})
	f := facts()
	f.Conn.Remote = netip.MustParseAddrPort("[::ffff:10.0.1.1]:1")
	if !s.Check(&f).Allowed {
		t.Error("an address that came by an IPv6 socket was not recognised")
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	yes, no := []authz.Clause{authz.Any()}, []authz.Clause{{}}
	hit := []authz.Policy{{Name: "c", Permissions: yes, Principals: yes}, {Name: "b", Permissions: yes, Principals: yes}, {Name: "a", Permissions: yes, Principals: no}}
	miss := []authz.Policy{{Name: "a", Permissions: no, Principals: yes}}
	for _, c := range []struct {
		name     string
		action   authz.Action
		policies []authz.Policy
		want     authz.Decision
	}{
		{"allow what matches; the first by name is reported", authz.Allow, hit, authz.Decision{Allowed: true, Matched: true, Policy: "b"}},
		{"allow nothing else", authz.Allow, miss, authz.Decision{}},
		{"allow without policies denies all", authz.Allow, nil, authz.Decision{}},
		{"deny what matches", authz.Deny, hit, authz.Decision{Matched: true, Policy: "b"}},
		{"deny nothing else", authz.Deny, miss, authz.Decision{Allowed: true}},
		{"deny without policies denies nothing", authz.Deny, nil, authz.Decision{Allowed: true}},
		{"log never denies", authz.Log, hit, authz.Decision{Allowed: true, Matched: true, Policy: "b"}},
		{"log without a match", authz.Log, miss, authz.Decision{Allowed: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := facts()
			if got := set(t, c.action, c.policies...).Check(&f); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestSetsThatMeanNothingAreRefused(t *testing.T) {
	t.Parallel()
	yes := []authz.Clause{authz.Any()}
	for name, f := range map[string]func() error{
		"no permission": func() error {
			_, err := authz.NewSet(authz.Allow, []authz.Policy{{Name: "a", Principals: yes}})
			return err
		},
		"no principal": func() error {
			_, err := authz.NewSet(authz.Allow, []authz.Policy{{Name: "a", Permissions: yes}})
			return err
		},
		"unknown action": func() error { _, err := authz.NewSet(7, nil); return err },
		"name comes twice": func() error {
			_, err := authz.NewSet(authz.Deny, []authz.Policy{{Name: "a", Permissions: yes, Principals: yes}, {Name: "a", Permissions: yes, Principals: yes}})
			return err
		},
		"ports the wrong way": func() error { _, err := authz.DestinationPorts(2, 1); return err },
	} {
		if f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestHeadersAreSeenInTheDepth(t *testing.T) {
	t.Parallel()
	p := authz.Policy{Name: "p", Permissions: []authz.Clause{authz.Any()}}
	p.Principals = []authz.Clause{authz.Not(authz.Or(authz.RemoteIP(prefix("10.0.0.0/8")), authz.DirectIP(prefix("10.0.0.0/8"))))}
	if set(t, authz.Allow, p).NeedsHeader() {
		t.Error("addresses are no headers")
	}
	p.Principals = []authz.Clause{authz.Not(authz.And(header(t, "x", "y"), authz.Authenticated(nil)))}
	if !set(t, authz.Allow, p).NeedsHeader() {
		t.Error("a header in the depth was not seen")
	}
}
