package compile

import (
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
	"github.com/outrigger-mesh/outrigger/route"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// clusterSource finds or makes the live object of a cluster's name, and hears of
// what is left out.
type clusterSource interface {
	cluster(name string) *upstream.Cluster
	ignored(what string)
	rateLimits(prefix string) *filter.RateLimitCounts
}

// routeLevel is what a whole route configuration adds to each of its rules.
type routeLevel struct {
	clusters clusterSource
	request  *proxy.HeaderEdits
	response *proxy.HeaderEdits
	// specificWins turns Envoy's default order around, in which what the route
	// configuration sets overwrites what a route sets.
	specificWins bool
	filters      filterSettings
	digest       uint64
}

func newRouteLevel(s scope, clusters clusterSource, rc *routev3.RouteConfiguration) *routeLevel {
	if len(rc.GetInternalOnlyHeaders()) > 0 {
		s.in("internal_only_headers").fail("is not supported")
	}
	level := &routeLevel{
		clusters:     clusters,
		request:      headerEdits(s, rc.GetRequestHeadersToAdd(), rc.GetRequestHeadersToRemove()),
		response:     headerEdits(s, rc.GetResponseHeadersToAdd(), rc.GetResponseHeadersToRemove()),
		specificWins: rc.GetMostSpecificHeaderMutationsWins(),
	}
	level.filters = level.filterSettings(s, rc.GetTypedPerFilterConfig())
	return level
}

// inlineRoutes compiles an inline route configuration.
func inlineRoutes(s scope, clusters clusterSource, rc *routev3.RouteConfiguration) *route.Table[*proxy.Rule] {
	level := newRouteLevel(s, clusters, rc)
	var hosts []route.Hosts[*proxy.Rule]
	for i, vh := range rc.GetVirtualHosts() {
		hosts = append(hosts, route.Hosts[*proxy.Rule]{
			Domains: vh.GetDomains(),
			Host:    virtualHost(s.at("virtual_hosts", i), level, vh),
		})
	}
	table, err := route.NewTable(hosts)
	s.check(err)
	return table
}

// virtualHost compiles one virtual host.
func virtualHost(s scope, level *routeLevel, vh *routev3.VirtualHost) *route.VirtualHost[*proxy.Rule] {
	if vh.GetRequireTls() != routev3.VirtualHost_NONE {
		s.in("require_tls").fail("is not supported")
	}
	if len(vh.GetRateLimits()) > 0 {
		s.in("rate_limits").fail("is not supported")
	}
	request := headerEdits(s, vh.GetRequestHeadersToAdd(), vh.GetRequestHeadersToRemove())
	response := headerEdits(s, vh.GetResponseHeadersToAdd(), vh.GetResponseHeadersToRemove())
	filters := level.filterSettings(s, vh.GetTypedPerFilterConfig())
	var entries []route.Entry[*proxy.Rule]
	for i, r := range vh.GetRoutes() {
		rs := s.at("routes", i)
		rule := compileRule(rs, level, r)
		rule.VirtualHost = vh.GetName()
		rule.Edits.IncludeAttemptCount = vh.GetIncludeRequestAttemptCount()
		rule.Edits.AttemptCountInResponse = vh.GetIncludeAttemptCountInResponse()
		rule.Edits.IncludeTimeoutRetry = vh.GetIncludeIsTimeoutRetryHeader()
		rule.Edits.Request = level.order(rule.Edits.Request, request, level.request)
		rule.Edits.Response = level.order(rule.Edits.Response, response, level.response)
		level.override(rs, rule, r, filters)
		if rule.Mirrors == nil && r.GetRoute() != nil {
			rule.Mirrors = mirrors(s, level, vh.GetRequestMirrorPolicies())
		}
		if rule.Retry == nil && r.GetRoute() != nil {
			rule.Retry = retryPolicy(rs, vh.GetRetryPolicy())
		}
		entries = append(entries, route.Entry[*proxy.Rule]{Matcher: routeMatch(rs.in("match"), r.GetMatch()), Value: rule})
	}
	v, err := route.NewVirtualHost(vh.GetName(), entries)
	s.check(err)
	return v
}

// override gives a rule, and those of its clusters that say something themselves, what
// all levels say of filters.
func (l *routeLevel) override(s scope, rule *proxy.Rule, r *routev3.Route, host filterSettings) {
	own := l.filterSettings(s, r.GetTypedPerFilterConfig())
	rule.Overrides = overrides(own, host, l.filters)
	for i, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
		cs := s.in("route.weighted_clusters").at("clusters", i)
		if set := l.filterSettings(cs, w.GetTypedPerFilterConfig()); len(set) > 0 && i < len(rule.Clusters) {
			rule.Clusters[i].Overrides = overrides(set, own, host, l.filters)
		}
	}
}

// order puts the levels into the sequence in which they are applied: the later
// one wins on overwrite.
func (l *routeLevel) order(own []*proxy.HeaderEdits, host, config *proxy.HeaderEdits) []*proxy.HeaderEdits {
	all := append(own, host, config)
	if l.specificWins {
		all = append([]*proxy.HeaderEdits{config, host}, own...)
	}
	kept := all[:0]
	for _, e := range all {
		if e != nil {
			kept = append(kept, e)
		}
	}
	return kept
}

// compileRule compiles one route.
func compileRule(s scope, level *routeLevel, r *routev3.Route) *proxy.Rule {
	rule := &proxy.Rule{
		Name:       r.GetName(),
		ConfigName: r.GetMetadata().GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue(),
	}
	rule.Edits.Decorator = r.GetDecorator().GetOperation()
	rule.Edits.DecoratorNoPropagate = !truth(r.GetDecorator().GetPropagate(), true)
	if e := headerEdits(s, r.GetRequestHeadersToAdd(), r.GetRequestHeadersToRemove()); e != nil {
		rule.Edits.Request = append(rule.Edits.Request, e)
	}
	if e := headerEdits(s, r.GetResponseHeadersToAdd(), r.GetResponseHeadersToRemove()); e != nil {
		rule.Edits.Response = append(rule.Edits.Response, e)
	}
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		if a.Route.GetPriority() == corev3.RoutingPriority_HIGH {
			rule.Priority = upstream.HighPriority
		}
		routeAction(s.in("route"), level, rule, r.GetMatch(), a.Route)
	case *routev3.Route_Redirect:
		rule.Redirect = redirect(s.in("redirect"), r.GetMatch(), a.Redirect)
	case *routev3.Route_DirectResponse:
		rule.Direct = directResponse(s.in("direct_response"), a.DirectResponse)
	default:
		s.fail("action %T is not supported", a)
	}
	return rule
}

func routeAction(s scope, level *routeLevel, rule *proxy.Rule, m *routev3.RouteMatch, a *routev3.RouteAction) {
	rule.Clusters = ruleClusters(s, level, a)
	routeTimeouts(rule, a)
	if a.GetIdleTimeout() != nil {
		idle := a.GetIdleTimeout().AsDuration()
		rule.IdleTimeout = &idle
	}
	if a.GetClusterNotFoundResponseCode() == routev3.RouteAction_NOT_FOUND {
		rule.ClusterNotFound = http.StatusNotFound
	}
	if a.GetClusterNotFoundResponseCode() == routev3.RouteAction_INTERNAL_SERVER_ERROR {
		rule.ClusterNotFound = http.StatusInternalServerError
	}
	rule.Retry = retryPolicy(s.in("retry_policy"), a.GetRetryPolicy())
	rule.Rewrite = rewrite(s, m, a)
	rule.Tunnels = ruleTunnels(s, a)
	if len(a.GetRateLimits()) > 0 {
		s.in("rate_limits").fail("is not supported")
	}
	if a.GetMetadataMatch() != nil {
		s.in("metadata_match").fail("is not supported")
	}
	rule.Mirrors = mirrors(s, level, a.GetRequestMirrorPolicies())
	rule.Hash = hashPolicies(s, level.clusters.ignored, a.GetHashPolicy())
}

// routeTimeouts compiles what bounds an exchange. With a max_stream_duration the
// route's timeout is not applied.
func routeTimeouts(rule *proxy.Rule, a *routev3.RouteAction) {
	m := a.GetMaxStreamDuration()
	switch {
	case m != nil:
		rule.MaxDuration = duration(m.GetMaxStreamDuration(), 0)
		if m.GetGrpcTimeoutHeaderMax() != nil {
			rule.GRPC = &proxy.GRPCTimeout{
				Max: m.GetGrpcTimeoutHeaderMax().AsDuration(), Offset: m.GetGrpcTimeoutHeaderOffset().AsDuration(),
			}
		}
	default:
		rule.Timeout = duration(a.GetTimeout(), defaultRouteTimeout)
		if a.GetMaxGrpcTimeout() != nil {
			rule.GRPC = &proxy.GRPCTimeout{
				Max: a.GetMaxGrpcTimeout().AsDuration(), Offset: a.GetGrpcTimeoutOffset().AsDuration(), Replaces: true,
			}
		}
	}
}

func ruleClusters(s scope, level *routeLevel, a *routev3.RouteAction) []proxy.WeightedCluster {
	switch c := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		return []proxy.WeightedCluster{{Cluster: level.clusters.cluster(c.Cluster), Weight: 1}}
	case *routev3.RouteAction_WeightedClusters:
		var out []proxy.WeightedCluster
		ws := s.in("weighted_clusters")
		for i, w := range c.WeightedClusters.GetClusters() {
			cs := ws.at("clusters", i)
			if w.GetClusterHeader() != "" {
				cs.in("cluster_header").fail("is not supported")
			}
			out = append(out, proxy.WeightedCluster{
				Cluster:     level.clusters.cluster(w.GetName()),
				Weight:      number(w.GetWeight(), 0),
				Request:     headerEdits(cs, w.GetRequestHeadersToAdd(), w.GetRequestHeadersToRemove()),
				Response:    headerEdits(cs, w.GetResponseHeadersToAdd(), w.GetResponseHeadersToRemove()),
				HostRewrite: w.GetHostRewriteLiteral(),
			})
		}
		if proxy.WeightTotal(out) == 0 {
			ws.fail("the weights add up to zero")
		}
		return out
	default:
		s.fail("cluster specifier %T is not supported", c)
		return nil
	}
}

func rewrite(s scope, m *routev3.RouteMatch, a *routev3.RouteAction) *proxy.Rewrite {
	out := &proxy.Rewrite{
		Path:                pathRewrite(s, m, a.GetPrefixRewrite(), a.GetRegexRewrite()),
		Host:                a.GetHostRewriteLiteral(),
		AppendForwardedHost: a.GetAppendXForwardedHost(),
	}
	switch h := a.GetHostRewriteSpecifier().(type) {
	case nil, *routev3.RouteAction_HostRewriteLiteral:
	case *routev3.RouteAction_AutoHostRewrite:
		out.HostOfEndpoint = h.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewriteHeader:
		out.HostHeader = strings.ToLower(h.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		out.HostOfPath = regexRewriter(s.in("host_rewrite_path_regex"), h.HostRewritePathRegex)
	default:
		s.fail("host rewrite %T is not supported", h)
	}
	if out.Path == nil && out.Host == "" && out.HostHeader == "" && out.HostOfPath == nil && !out.HostOfEndpoint && !out.AppendForwardedHost {
		return nil
	}
	return out
}

// regexRewriter compiles a substitution; nil where it is not valid.
func regexRewriter(s scope, m *regexRewrite) func(string) string {
	re, err := match.SearchRegexp(m.GetPattern().GetRegex())
	if !s.check(err) {
		return nil
	}
	template := goTemplate(m.GetSubstitution())
	return func(text string) string { return re.ReplaceAllString(text, template) }
}

func redirect(s scope, m *routev3.RouteMatch, r *routev3.RedirectAction) *proxy.Redirect {
	out := &proxy.Redirect{
		Status: redirectStatus(r.GetResponseCode()), HTTPS: r.GetHttpsRedirect(), Scheme: r.GetSchemeRedirect(),
		Host: r.GetHostRedirect(), Path: r.GetPathRedirect(), StripQuery: r.GetStripQuery(),
		Rewrite: pathRewrite(s, m, r.GetPrefixRewrite(), r.GetRegexRewrite()),
	}
	if p := r.GetPortRedirect(); p > 65535 {
		s.in("port_redirect").fail("%d is not a port", p)
	} else {
		out.Port = uint16(p)
	}
	return out
}

func redirectStatus(c routev3.RedirectAction_RedirectResponseCode) int {
	switch c {
	case routev3.RedirectAction_FOUND:
		return http.StatusFound
	case routev3.RedirectAction_SEE_OTHER:
		return http.StatusSeeOther
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		return http.StatusTemporaryRedirect
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		return http.StatusPermanentRedirect
	case routev3.RedirectAction_MOVED_PERMANENTLY:
	}
	return http.StatusMovedPermanently
}

func directResponse(s scope, d *routev3.DirectResponseAction) *proxy.Direct {
	out := &proxy.Direct{Status: int(d.GetStatus()), Body: d.GetBody().GetInlineString()}
	if b := d.GetBody().GetInlineBytes(); len(b) > 0 {
		out.Body = string(b)
	}
	if d.GetBody().GetFilename() != "" || d.GetBody().GetEnvironmentVariable() != "" {
		s.in("body").fail("only inline bodies are supported")
	}
	if out.Status < 200 || out.Status > 599 {
		s.in("status").fail("%d is not between 200 and 599", out.Status)
	}
	return out
}

// prefixOf is what a prefix rewrite replaces: the matched prefix, or the whole of
// an exact path. A regex route has neither.
func prefixOf(m *routev3.RouteMatch) (matched string, whole bool) {
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return p.Prefix, false
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return p.PathSeparatedPrefix, false
	case *routev3.RouteMatch_Path:
		return p.Path, true
	default:
		return "", true
	}
}

func pathRewrite(s scope, m *routev3.RouteMatch, prefix string, regex *regexRewrite) *proxy.PathRewrite {
	switch {
	case prefix != "" && regex != nil:
		s.fail("prefix_rewrite and regex_rewrite exclude each other")
	case prefix != "":
		matched, whole := prefixOf(m)
		return &proxy.PathRewrite{Matched: matched, Whole: whole, Prefix: prefix}
	case regex != nil:
		if f := regexRewriter(s.in("regex_rewrite"), regex); f != nil {
			return &proxy.PathRewrite{Regex: f}
		}
	}
	return nil
}

// goTemplate turns RE2's \1 into ${1}, and keeps Go's own "$" literal.
func goTemplate(substitution string) string {
	var b strings.Builder
	for i := 0; i < len(substitution); i++ {
		c := substitution[i]
		switch {
		case c == '$':
			b.WriteString("$$")
		case c == '\\' && i+1 < len(substitution) && substitution[i+1] >= '0' && substitution[i+1] <= '9':
			i++
			b.WriteString("${" + substitution[i:i+1] + "}")
		case c == '\\' && i+1 < len(substitution) && substitution[i+1] == '\\':
			i++
			b.WriteByte('\\')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
