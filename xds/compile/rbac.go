package compile

import (
	"maps"
	"net/netip"
	"slices"
	"unique"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/authz"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

const (
	httpRBACType    = "envoy.extensions.filters.http.rbac.v3.RBAC"
	networkRBACType = "envoy.extensions.filters.network.rbac.v3.RBAC"

	// peerPrincipal is the filter state in which Istio keeps a peer's identity.
	peerPrincipal = "io.istio.peer_principal"
	// maxNesting bounds the depth of a rule, as protobuf's default does in Envoy.
	maxNesting = 100
)

// httpRBAC compiles the filter of an HTTP chain.
func (c *Compiler) httpRBAC(s scope, prefix, name string, a *anypb.Any) proxy.Filter {
	var m httprbacv3.RBAC
	if !s.check(unpack(a, &m)) {
		return nil
	}
	out := requestPolicies(s, &m)
	out.Counts = c.policies.of(PolicyPrefix{HTTP: true, Flow: prefix, Rules: m.GetRulesStatPrefix(), Shadow: m.GetShadowRulesStatPrefix()})
	return filter.NewRBAC(unique.Make(name), out)
}

func requestPolicies(s scope, m *httprbacv3.RBAC) filter.Policies {
	s.only(m, "rules", "rules_stat_prefix", "shadow_rules", "shadow_rules_stat_prefix", "track_per_rule_stats")
	return filter.Policies{
		Rules:  policies(s.in("rules"), m.GetRules()),
		Shadow: policies(s.in("shadow_rules"), m.GetShadowRules()),
	}
}

// rbacSetting is what takes the place of a chain's policies on a route; without rules
// nothing is enforced there.
func rbacSetting(s scope, m *httprbacv3.RBACPerRoute) *filter.Policies {
	s.only(m, "rbac")
	if m.GetRbac() == nil {
		return new(filter.Policies)
	}
	out := requestPolicies(s.in("rbac"), m.GetRbac())
	return &out
}

// networkRBAC compiles the filter of a TCP chain. Facts of a connection do not
// change, so that asking once is as good as asking for all data.
func (c *Compiler) networkRBAC(s scope, a *anypb.Any) proxy.ConnFilter {
	var m netrbacv3.RBAC
	if !s.check(unpack(a, &m)) {
		return nil
	}
	s.only(&m, "rules", "shadow_rules", "shadow_rules_stat_prefix", "stat_prefix", "enforcement_type")
	rules, shadow := policies(s.in("rules"), m.GetRules()), policies(s.in("shadow_rules"), m.GetShadowRules())
	for _, set := range []*authz.Set{rules, shadow} {
		if set != nil && set.NeedsHeader() { // so does Envoy
			s.fail("a connection has no headers to match")
		}
	}
	return filter.NewConnRBAC(filter.Policies{
		Rules: rules, Shadow: shadow,
		Counts: c.policies.of(PolicyPrefix{Flow: m.GetStatPrefix(), Shadow: m.GetShadowRulesStatPrefix()}),
	})
}

// policies compiles a list of policies; an absent one enforces nothing.
func policies(s scope, m *rbacv3.RBAC) *authz.Set {
	if m == nil {
		return nil
	}
	s.only(m, "action", "policies")
	if hasUnknown(m.ProtoReflect()) {
		s.fail("has fields that are not known")
	}
	var list []authz.Policy
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		p := m.GetPolicies()[name]
		ps := s.in("policies[" + name + "]")
		ps.only(p, "permissions", "principals")
		out := authz.Policy{Name: name}
		for i, what := range p.GetPermissions() {
			out.Permissions = append(out.Permissions, permission(ps.at("permissions", i), what, maxNesting))
		}
		for i, who := range p.GetPrincipals() {
			out.Principals = append(out.Principals, principal(ps.at("principals", i), who, maxNesting))
		}
		list = append(list, out)
	}
	action, ok := map[rbacv3.RBAC_Action]authz.Action{
		rbacv3.RBAC_ALLOW: authz.Allow, rbacv3.RBAC_DENY: authz.Deny, rbacv3.RBAC_LOG: authz.Log,
	}[m.GetAction()]
	if !ok {
		s.in("action").fail("%v is not supported", m.GetAction())
	}
	set, err := authz.NewSet(action, list)
	s.check(err)
	return set
}

// permission compiles what may be done. What cannot be evaluated is an error:
// nothing that it could become instead is safe both in an ALLOW and in a DENY.
func permission(s scope, m *rbacv3.Permission, depth int) authz.Clause {
	if depth == 0 {
		s.fail("is nested too deeply")
		return authz.Clause{}
	}
	switch r := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return authz.And(permissions(s.in("and_rules"), r.AndRules, depth)...)
	case *rbacv3.Permission_OrRules:
		return authz.Or(permissions(s.in("or_rules"), r.OrRules, depth)...)
	case *rbacv3.Permission_NotRule:
		return authz.Not(permission(s.in("not_rule"), r.NotRule, depth-1))
	case *rbacv3.Permission_Any:
		return anything(s.in("any"), r.Any)
	case *rbacv3.Permission_Header:
		return headerClause(s.in("header"), r.Header)
	case *rbacv3.Permission_UrlPath:
		return pathClause(s.in("url_path"), r.UrlPath)
	case *rbacv3.Permission_UriTemplate:
		return templateClause(s.in("uri_template"), r.UriTemplate)
	case *rbacv3.Permission_DestinationIp:
		return authz.DestinationIP(cidr(s.in("destination_ip"), r.DestinationIp))
	case *rbacv3.Permission_DestinationPort:
		return portClause(s.in("destination_port"), int64(r.DestinationPort), int64(r.DestinationPort))
	case *rbacv3.Permission_DestinationPortRange:
		return portRange(s.in("destination_port_range"), r.DestinationPortRange)
	case *rbacv3.Permission_RequestedServerName:
		return authz.ServerName(*stringMatch(s.in("requested_server_name"), r.RequestedServerName))
	default:
		s.fail("permission %s is not supported", kindOf(m, "rule"))
		return authz.Clause{}
	}
}

func permissions(s scope, m *rbacv3.Permission_Set, depth int) []authz.Clause {
	if len(m.GetRules()) == 0 {
		s.in("rules").fail("must not be empty")
	}
	var out []authz.Clause
	for i, r := range m.GetRules() {
		out = append(out, permission(s.at("rules", i), r, depth-1))
	}
	return out
}

// principal compiles who may do it.
func principal(s scope, m *rbacv3.Principal, depth int) authz.Clause {
	if depth == 0 {
		s.fail("is nested too deeply")
		return authz.Clause{}
	}
	switch id := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return authz.And(principals(s.in("and_ids"), id.AndIds, depth)...)
	case *rbacv3.Principal_OrIds:
		return authz.Or(principals(s.in("or_ids"), id.OrIds, depth)...)
	case *rbacv3.Principal_NotId:
		return authz.Not(principal(s.in("not_id"), id.NotId, depth-1))
	case *rbacv3.Principal_Any:
		return anything(s.in("any"), id.Any)
	case *rbacv3.Principal_Authenticated_:
		return authenticated(s.in("authenticated"), id.Authenticated)
	case *rbacv3.Principal_SourceIp:
		return authz.DirectIP(cidr(s.in("source_ip"), id.SourceIp))
	case *rbacv3.Principal_DirectRemoteIp:
		return authz.DirectIP(cidr(s.in("direct_remote_ip"), id.DirectRemoteIp))
	case *rbacv3.Principal_RemoteIp:
		return authz.RemoteIP(cidr(s.in("remote_ip"), id.RemoteIp))
	case *rbacv3.Principal_Header:
		return headerClause(s.in("header"), id.Header)
	case *rbacv3.Principal_UrlPath:
		return pathClause(s.in("url_path"), id.UrlPath)
	case *rbacv3.Principal_FilterState:
		return filterState(s.in("filter_state"), id.FilterState)
	default:
		s.fail("principal %s is not supported", kindOf(m, "identifier"))
		return authz.Clause{}
	}
}

func principals(s scope, m *rbacv3.Principal_Set, depth int) []authz.Clause {
	if len(m.GetIds()) == 0 {
		s.in("ids").fail("must not be empty")
	}
	var out []authz.Clause
	for i, id := range m.GetIds() {
		out = append(out, principal(s.at("ids", i), id, depth-1))
	}
	return out
}

func anything(s scope, yes bool) authz.Clause {
	if !yes {
		s.fail("has to be true")
	}
	return authz.Any()
}

func authenticated(s scope, m *rbacv3.Principal_Authenticated) authz.Clause {
	if m.GetPrincipalName() == nil {
		return authz.Authenticated(nil)
	}
	return authz.Authenticated(stringMatch(s.in("principal_name"), m.GetPrincipalName()))
}

func filterState(s scope, m *matcherv3.FilterStateMatcher) authz.Clause {
	s.only(m, "key", "string_match")
	if m.GetKey() != peerPrincipal {
		s.in("key").fail("%q is not supported", m.GetKey())
	}
	return authz.Peer(*stringMatch(s.in("string_match"), m.GetStringMatch()))
}

func headerClause(s scope, m *routev3.HeaderMatcher) authz.Clause {
	return authz.Header(headerMatch(s, m))
}

func pathClause(s scope, m *matcherv3.PathMatcher) authz.Clause {
	s.only(m, "path")
	return authz.Path(*stringMatch(s.in("path"), m.GetPath()))
}

func templateClause(s scope, m *corev3.TypedExtensionConfig) authz.Clause {
	var config templatev3.UriTemplateMatchConfig
	if !s.in("typed_config").check(unpack(m.GetTypedConfig(), &config)) {
		return authz.Clause{}
	}
	s.only(&config, "path_template")
	t, err := authz.NewTemplate(config.GetPathTemplate())
	if !s.check(err) {
		return authz.Clause{}
	}
	return authz.PathTemplate(t)
}

func portClause(s scope, low, high int64) authz.Clause {
	if low < 0 || high > 65535 || low > high {
		s.fail("no port is from %d to %d", low, high)
		return authz.Clause{}
	}
	clause, err := authz.DestinationPorts(uint16(low), uint16(high))
	s.check(err)
	return clause
}

// portRange compiles a range that its end is not part of.
func portRange(s scope, m *typev3.Int32Range) authz.Clause {
	return portClause(s, int64(m.GetStart()), int64(m.GetEnd())-1)
}

func cidr(s scope, m *corev3.CidrRange) netip.Prefix {
	addr, err := netip.ParseAddr(m.GetAddressPrefix())
	if err != nil || addr.Zone() != "" {
		s.fail("%q is not an address", m.GetAddressPrefix())
		return netip.Prefix{}
	}
	p, err := addr.Prefix(int(number(m.GetPrefixLen(), 0)))
	s.check(err)
	return p
}
