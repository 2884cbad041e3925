package compile

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/route"
)

// routeMatch compiles what a route asks of a request. A matcher that cannot be
// evaluated is an error: the route would otherwise match too much.
func routeMatch(s scope, m *routev3.RouteMatch) route.Matcher {
	out := route.Matcher{Path: routePath(s, m)}
	if !truth(m.GetCaseSensitive(), true) && out.Path.Kind != route.PathRegex {
		out.Path.AnyCase = true
	}
	for i, h := range m.GetHeaders() {
		out.Headers = append(out.Headers, headerMatch(s.at("headers", i), h))
	}
	for i, q := range m.GetQueryParameters() {
		out.Queries = append(out.Queries, queryMatch(s.at("query_parameters", i), q))
	}
	if f := m.GetRuntimeFraction(); f != nil {
		out.Fraction = fraction(f.GetDefaultValue())
	}
	out.GRPC = m.GetGrpc() != nil
	if m.GetTlsContext() != nil {
		s.in("tls_context").fail("is not supported")
	}
	if len(m.GetDynamicMetadata()) > 0 {
		s.in("dynamic_metadata").fail("is not supported")
	}
	if len(m.GetFilterState()) > 0 {
		s.in("filter_state").fail("is not supported")
	}
	return out
}

func routePath(s scope, m *routev3.RouteMatch) route.Path {
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return route.Path{Kind: route.PathPrefix, Value: p.Prefix}
	case *routev3.RouteMatch_Path:
		return route.Path{Kind: route.PathExact, Value: p.Path}
	case *routev3.RouteMatch_SafeRegex:
		return route.Path{Kind: route.PathRegex, Value: p.SafeRegex.GetRegex()}
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return route.Path{Kind: route.PathSeparated, Value: p.PathSeparatedPrefix}
	case *routev3.RouteMatch_ConnectMatcher_:
		return route.Path{Kind: route.PathConnect}
	default:
		s.fail("path matcher %T is not supported", p)
		return route.Path{}
	}
}

func fraction(f *typev3.FractionalPercent) *route.Fraction {
	return &route.Fraction{Numerator: uint64(f.GetNumerator()), Denominator: uint64(denominator(f.GetDenominator()))}
}

func headerMatch(s scope, h *routev3.HeaderMatcher) match.Header {
	spec := match.HeaderSpec{
		Name: strings.ToLower(h.GetName()), Invert: h.GetInvertMatch(), MissingIsEmpty: h.GetTreatMissingHeaderAsEmpty(),
	}
	switch v := h.GetHeaderMatchSpecifier().(type) {
	case nil:
	case *routev3.HeaderMatcher_StringMatch:
		spec.Value = stringMatch(s.in("string_match"), v.StringMatch)
	case *routev3.HeaderMatcher_PresentMatch:
		spec.Present = &v.PresentMatch
	case *routev3.HeaderMatcher_RangeMatch:
		spec.Range = &match.Range{Start: v.RangeMatch.GetStart(), End: v.RangeMatch.GetEnd()}
	case *routev3.HeaderMatcher_ExactMatch:
		kind := match.Exact
		if v.ExactMatch == "" { // Envoy's rule for the deprecated field
			kind = match.Any
		}
		spec.Value = pattern(s, kind, v.ExactMatch, false)
	case *routev3.HeaderMatcher_PrefixMatch:
		spec.Value = pattern(s, match.Prefix, v.PrefixMatch, false)
	case *routev3.HeaderMatcher_SuffixMatch:
		spec.Value = pattern(s, match.Suffix, v.SuffixMatch, false)
	case *routev3.HeaderMatcher_ContainsMatch:
		spec.Value = pattern(s, match.Contains, v.ContainsMatch, false)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		spec.Value = pattern(s, match.Regex, v.SafeRegexMatch.GetRegex(), false)
	default:
		s.fail("matcher %T is not supported", v)
	}
	return match.NewHeader(spec)
}

func queryMatch(s scope, q *routev3.QueryParameterMatcher) match.Query {
	out := match.Query{Name: q.GetName()}
	switch v := q.GetQueryParameterMatchSpecifier().(type) {
	case nil:
	case *routev3.QueryParameterMatcher_StringMatch:
		out.Value = stringMatch(s.in("string_match"), v.StringMatch)
	case *routev3.QueryParameterMatcher_PresentMatch:
		out.Absent = !v.PresentMatch
	default:
		s.fail("matcher %T is not supported", v)
	}
	return out
}

func stringMatch(s scope, m *matcherv3.StringMatcher) *match.String {
	fold := m.GetIgnoreCase()
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return pattern(s, match.Exact, p.Exact, fold)
	case *matcherv3.StringMatcher_Prefix:
		return pattern(s, match.Prefix, p.Prefix, fold)
	case *matcherv3.StringMatcher_Suffix:
		return pattern(s, match.Suffix, p.Suffix, fold)
	case *matcherv3.StringMatcher_Contains:
		return pattern(s, match.Contains, p.Contains, fold)
	case *matcherv3.StringMatcher_SafeRegex:
		return pattern(s, match.Regex, p.SafeRegex.GetRegex(), fold)
	default:
		s.fail("string matcher %T is not supported", p)
		return &match.String{}
	}
}

func pattern(s scope, kind match.Kind, text string, fold bool) *match.String {
	m, err := match.NewString(kind, text, fold)
	s.check(err)
	return &m
}
