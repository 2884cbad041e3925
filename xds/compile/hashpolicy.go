package compile

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy"
)

// hashPolicies compiles what a route hashes requests by.
func hashPolicies(s scope, ignored func(string), in []*routev3.RouteAction_HashPolicy) []proxy.HashPolicy {
	var out []proxy.HashPolicy
	for i, m := range in {
		hs := s.at("hash_policy", i)
		p := proxy.HashPolicy{Terminal: m.GetTerminal()}
		switch m.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			p.Source, p.Name = proxy.HashHeader, strings.ToLower(m.GetHeader().GetHeaderName())
			p.Rewrite = valueRewrite(hs.in("header.regex_rewrite"), m.GetHeader().GetRegexRewrite())
		case *routev3.RouteAction_HashPolicy_Cookie_:
			p.Source, p.Name = proxy.HashCookie, m.GetCookie().GetName()
			p.Cookie = newCookie(m.GetCookie())
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			if !m.GetConnectionProperties().GetSourceIp() {
				continue
			}
			p.Source = proxy.HashSourceIP
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			p.Source, p.Name = proxy.HashQuery, m.GetQueryParameter().GetName()
		case *routev3.RouteAction_HashPolicy_FilterState_:
			// No filter leaves an object of that name: Envoy would find none, either.
			ignored("hash_policy filter_state of routes")
			continue
		default:
			hs.fail("says nothing")
			continue
		}
		out = append(out, p)
	}
	return out
}

// newCookie describes the cookie for those who bring none; nil where none is given.
func newCookie(m *routev3.RouteAction_HashPolicy_Cookie) *proxy.NewCookie {
	if m.GetTtl() == nil {
		return nil
	}
	var pairs [][2]string
	for _, a := range m.GetAttributes() {
		pairs = append(pairs, [2]string{a.GetName(), a.GetValue()})
	}
	return &proxy.NewCookie{
		TTL:        time.Duration(m.GetTtl().GetSeconds()) * time.Second,
		Attributes: proxy.CookieAttributes(m.GetPath(), pairs...),
	}
}

func valueRewrite(s scope, m *regexRewrite) func(string) string {
	if m == nil {
		return nil
	}
	re, err := match.SearchRegexp(m.GetPattern().GetRegex())
	if !s.in("pattern").check(err) {
		return nil
	}
	template := goTemplate(m.GetSubstitution())
	return func(value string) string { return re.ReplaceAllString(value, template) }
}

// hashesSource reports whether a TCP proxy hashes by the downstream's address.
func (c *Compiler) hashesSource(in []*typev3.HashPolicy) bool {
	for _, m := range in {
		if m.GetSourceIp() != nil {
			return true
		}
		c.ignored("hash_policy filter_state of tcp_proxy")
	}
	return false
}
