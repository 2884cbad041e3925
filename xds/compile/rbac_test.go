package compile_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/authz"
	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/xds/compile"
)

// dice makes random policies and facts out of few values, so that they often meet.
type dice struct{ *rand.Rand }

func one[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) text() *matcherv3.StringMatcher {
	value := one(d, "/admin", "/a", "GET", "spiffe://cluster.local/ns/shop/sa/web", "cluster.local", "a", "b", "")
	m := &matcherv3.StringMatcher{IgnoreCase: d.IntN(4) == 0}
	switch d.IntN(5) {
	case 0:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: value}
	case 1:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: value}
	case 2:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: value}
	case 3:
		m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: value}
	default:
		m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(one(d, ".*/ns/shop/.*", ".+", "/a.*", "[ab]"))}
	}
	return m
}

func (d dice) header() *routev3.HeaderMatcher {
	m := &routev3.HeaderMatcher{Name: one(d, ":method", ":path", ":authority", "x-a", "x-b"), InvertMatch: d.IntN(4) == 0, TreatMissingHeaderAsEmpty: d.IntN(4) == 0}
	switch d.IntN(4) {
	case 0:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: d.IntN(2) == 0}
		m.TreatMissingHeaderAsEmpty = false
	default:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: d.text()}
	}
	return m
}

func (d dice) cidr() *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: one(d, "10.0.1.1", "10.0.2.0", "192.0.2.0"), PrefixLen: wrapperspb.UInt32(one[uint32](d, 0, 8, 24, 32))}
}

func (d dice) path() *matcherv3.PathMatcher {
	return &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: d.text()}}
}

func (d dice) permission(depth int) *rbacv3.Permission {
	n := d.IntN(11)
	if depth == 0 {
		n = 3 + d.IntN(8)
	}
	set := func() *rbacv3.Permission_Set {
		s := &rbacv3.Permission_Set{}
		for range 1 + d.IntN(3) {
			s.Rules = append(s.Rules, d.permission(depth-1))
		}
		return s
	}
	switch n {
	case 0:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: set()}}
	case 1:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: set()}}
	case 2:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: d.permission(depth - 1)}}
	case 3:
		return anyRule()
	case 4, 5:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: d.header()}}
	case 6:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: d.path()}}
	case 7:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: d.cidr()}}
	case 8:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: one[uint32](d, 80, 9080)}}
	case 9:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPortRange{DestinationPortRange: &typev3.Int32Range{Start: one[int32](d, 1, 80), End: one[int32](d, 9080, 9081)}}}
	default:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: d.text()}}
	}
}

func (d dice) principal(depth int) *rbacv3.Principal {
	n := d.IntN(11)
	if depth == 0 {
		n = 3 + d.IntN(8)
	}
	set := func() *rbacv3.Principal_Set {
		s := &rbacv3.Principal_Set{}
		for range 1 + d.IntN(3) {
			s.Ids = append(s.Ids, d.principal(depth-1))
		}
		return s
	}
	switch n {
	case 0:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: set()}}
	case 1:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: set()}}
	case 2:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: d.principal(depth - 1)}}
	case 3:
		return anyID()
	case 4, 5:
		a := &rbacv3.Principal_Authenticated{PrincipalName: d.text()}
		if d.IntN(5) == 0 {
			a.PrincipalName = nil
		}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: a}}
	case 6:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: d.header()}}
	case 7:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: d.cidr()}}
	case 8:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: d.cidr()}}
	case 9:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_UrlPath{UrlPath: d.path()}}
	default:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourceIp{SourceIp: d.cidr()}}
	}
}

func (d dice) rbac() *rbacv3.RBAC {
	m := &rbacv3.RBAC{Action: one(d, rbacv3.RBAC_ALLOW, rbacv3.RBAC_DENY, rbacv3.RBAC_LOG), Policies: map[string]*rbacv3.Policy{}}
	for i := range d.IntN(4) {
		p := &rbacv3.Policy{}
		for range 1 + d.IntN(2) {
			p.Permissions, p.Principals = append(p.Permissions, d.permission(3)), append(p.Principals, d.principal(3))
		}
		m.Policies[fmt.Sprintf("policy-%d", 9-i)] = p
	}
	return m
}

func (d dice) facts() *authz.Facts {
	f := &authz.Facts{
		Conn: &flow.Conn{
			Remote:      netip.MustParseAddrPort(one(d, "10.0.1.1:1", "10.0.2.9:2", "[2001:db8::1]:3")),
			OriginalDst: netip.MustParseAddrPort(one(d, "10.0.2.1:80", "10.0.2.1:9080", "192.0.2.1:443")),
		},
		Remote: netip.MustParseAddr(one(d, "10.0.1.1", "192.0.2.4", "2001:db8::2")),
	}
	if d.IntN(3) > 0 {
		f.Conn.TLS = flow.TLS{SNI: one(d, "", "a", "cluster.local"), Established: true}
		f.Conn.TLS.Peer.URIs = one(d, nil, []string{"spiffe://cluster.local/ns/shop/sa/web"}, []string{"spiffe://x", "spiffe://cluster.local/ns/shop/sa/db"})
		f.Conn.TLS.Peer.DNS = one(d, nil, []string{"a.cluster.local", "b"})
		f.Conn.TLS.Peer.Subject = one(d, "", "CN=a")
	}
	if d.IntN(4) > 0 {
		f.Request = &httpmsg.Request{Method: one(d, "GET", "POST"), Path: one(d, "/", "/admin", "/admin?x=/a", "/a#b", "/ADMIN"), Authority: one(d, "a", "B", "cluster.local")}
		for range d.IntN(4) {
			f.Request.Header.Add(one(d, "x-a", "x-b"), one(d, "a", "b", "GET", ""))
		}
	}
	return f
}

// naive evaluates the messages as they are, in the plainest way.
type naive struct {
	f *authz.Facts
}

func (n naive) text(m *matcherv3.StringMatcher, s string) bool {
	fold := func(s string) string {
		if m.GetIgnoreCase() {
			return strings.ToLower(s)
		}
		return s
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(s) == fold(p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(s), fold(p.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(s), fold(p.Suffix))
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(s), fold(p.Contains))
	default:
		return regexp.MustCompile("^(?:" + m.GetSafeRegex().GetRegex() + ")$").MatchString(s)
	}
}

// header collects the values first and then asks each.
func (n naive) header(m *routev3.HeaderMatcher) bool {
	r := n.f.Request
	if r == nil {
		return false
	}
	var values []string
	switch m.GetName() {
	case ":method":
		values = []string{r.Method}
	case ":path":
		values = []string{r.Path}
	case ":authority":
		values = []string{r.Authority}
	default:
		for _, f := range r.Header.Fields {
			if f.Name == m.GetName() {
				values = append(values, f.Value)
			}
		}
	}
	if p, ok := m.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_PresentMatch); ok {
		return (len(values) > 0 == p.PresentMatch) != m.GetInvertMatch()
	}
	if len(values) == 0 {
		if !m.GetTreatMissingHeaderAsEmpty() {
			return false
		}
		values = []string{""}
	}
	hit := slices.ContainsFunc(values, func(v string) bool { return n.text(m.GetStringMatch(), v) })
	return hit != m.GetInvertMatch()
}

func (n naive) path(m *matcherv3.PathMatcher) bool {
	if n.f.Request == nil {
		return false
	}
	return n.text(m.GetPath(), strings.FieldsFunc(n.f.Request.Path+"?", func(r rune) bool { return r == '?' || r == '#' })[0])
}

func (n naive) in(m *corev3.CidrRange, a netip.Addr) bool {
	return netip.MustParsePrefix(fmt.Sprintf("%s/%d", m.GetAddressPrefix(), m.GetPrefixLen().GetValue())).Contains(a)
}

func (n naive) permission(m *rbacv3.Permission) bool {
	dst := n.f.Conn.OriginalDst
	switch r := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return !slices.ContainsFunc(r.AndRules.GetRules(), func(p *rbacv3.Permission) bool { return !n.permission(p) })
	case *rbacv3.Permission_OrRules:
		return slices.ContainsFunc(r.OrRules.GetRules(), n.permission)
	case *rbacv3.Permission_NotRule:
		return !n.permission(r.NotRule)
	case *rbacv3.Permission_Header:
		return n.header(r.Header)
	case *rbacv3.Permission_UrlPath:
		return n.path(r.UrlPath)
	case *rbacv3.Permission_DestinationIp:
		return n.in(r.DestinationIp, dst.Addr())
	case *rbacv3.Permission_DestinationPort:
		return uint32(dst.Port()) == r.DestinationPort
	case *rbacv3.Permission_DestinationPortRange:
		return int32(dst.Port()) >= r.DestinationPortRange.GetStart() && int32(dst.Port()) < r.DestinationPortRange.GetEnd()
	case *rbacv3.Permission_RequestedServerName:
		return n.text(r.RequestedServerName, n.f.Conn.TLS.SNI)
	default:
		return true
	}
}

func (n naive) principal(m *rbacv3.Principal) bool {
	switch id := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return !slices.ContainsFunc(id.AndIds.GetIds(), func(p *rbacv3.Principal) bool { return !n.principal(p) })
	case *rbacv3.Principal_OrIds:
		return slices.ContainsFunc(id.OrIds.GetIds(), n.principal)
	case *rbacv3.Principal_NotId:
		return !n.principal(id.NotId)
	case *rbacv3.Principal_Authenticated_:
		tls := &n.f.Conn.TLS
		names := slices.Concat(tls.Peer.URIs, tls.Peer.DNS, []string{tls.Peer.Subject})
		return tls.Established && (id.Authenticated.GetPrincipalName() == nil ||
			slices.ContainsFunc(names, func(s string) bool { return n.text(id.Authenticated.GetPrincipalName(), s) }))
	case *rbacv3.Principal_Header:
		return n.header(id.Header)
	case *rbacv3.Principal_UrlPath:
		return n.path(id.UrlPath)
	case *rbacv3.Principal_SourceIp:
		return n.in(id.SourceIp, n.f.Conn.Remote.Addr())
	case *rbacv3.Principal_DirectRemoteIp:
		return n.in(id.DirectRemoteIp, n.f.Conn.Remote.Addr())
	case *rbacv3.Principal_RemoteIp:
		return n.in(id.RemoteIp, n.f.Remote)
	default:
		return true
	}
}

func (n naive) decide(m *rbacv3.RBAC) authz.Decision {
	d := authz.Decision{}
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		p := m.GetPolicies()[name]
		if slices.ContainsFunc(p.GetPermissions(), n.permission) && slices.ContainsFunc(p.GetPrincipals(), n.principal) {
			d.Matched, d.Policy = true, name
			break
		}
	}
	d.Allowed = m.GetAction() == rbacv3.RBAC_LOG || d.Matched == (m.GetAction() == rbacv3.RBAC_ALLOW)
	return d
}

// differ compares the compiled policy with the naive reading of its message.
func differ(t *testing.T, seed1, seed2 uint64) (matched bool) {
	t.Helper()
	d := dice{rand.New(rand.NewPCG(seed1, seed2))} //nolint:gosec // a test that can be repeated
	m := d.rbac()
	set, err := compile.Policies(m)
	if err != nil {
		t.Fatalf("seeds %d, %d: %v", seed1, seed2, err)
	}
	for range 8 {
		f := d.facts()
		got, want := set.Check(f), naive{f}.decide(m)
		if got != want {
			t.Fatalf("seeds %d, %d: got %+v, want %+v for %+v %+v of %v", seed1, seed2, got, want, f.Conn, f.Request, m)
		}
		matched = matched || got.Matched
	}
	return matched
}

func TestCompiledPoliciesDecideAsTheirMessagesRead(t *testing.T) {
	t.Parallel()
	const rounds = 5000
	matched := 0
	for i := range uint64(rounds) {
		if differ(t, i, 1) {
			matched++
		}
	}
	if matched < rounds/10 || matched > rounds*9/10 {
		t.Errorf("%d of %d policies matched: the dice are loaded", matched, rounds)
	}
}

func FuzzPolicyDecidesAsItsMessageReads(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { differ(t, a, b) })
}

// FuzzPolicy compiles arbitrary bytes: it must not panic, and what is accepted can
// be asked.
func FuzzPolicy(f *testing.F) {
	for i := range uint64(8) {
		b, err := proto.Marshal(dice{rand.New(rand.NewPCG(i, 7))}.rbac()) //nolint:gosec // seeds
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		m := new(rbacv3.RBAC)
		if proto.Unmarshal(body, m) != nil {
			return
		}
		set, err := compile.Policies(m)
		if err != nil {
			return
		}
		d := dice{rand.New(rand.NewPCG(1, 1))} //nolint:gosec // facts
		for range 4 {
			set.Check(d.facts())
		}
	})
}
