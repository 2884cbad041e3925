package compile

import (
	"maps"
	"slices"
	"unique"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/proxy"
)

const (
	filterConfigType     = "envoy.config.route.v3.FilterConfig"
	rbacPerRouteType     = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
	statefulPerRouteType = "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute"
	statsType            = "stats.PluginConfig"
)

// filterSettings is what one level of the routes says of filters, by their names.
type filterSettings map[string]filterSetting

type filterSetting struct {
	disabled bool
	config   any // *filter.FaultSpec, *corsFields, …
}

// filterSettings compiles a typed_per_filter_config.
func (l *routeLevel) filterSettings(s scope, configs map[string]*anypb.Any) filterSettings {
	if len(configs) == 0 {
		return nil
	}
	out := make(filterSettings, len(configs))
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		if set, ok := l.filterSetting(s.in("typed_per_filter_config["+name+"]"), name, configs[name]); ok {
			out[name] = set
		}
	}
	return out
}

// filterSetting looks into the wrapper that says more than the filter's own message.
func (l *routeLevel) filterSetting(s scope, name string, a *anypb.Any) (filterSetting, bool) {
	if anyType(a) != filterConfigType {
		return l.ownSetting(s, name, a, false)
	}
	var m routev3.FilterConfig
	if !s.check(unpack(a, &m)) {
		return filterSetting{}, false
	}
	switch {
	case m.GetDisabled():
		return filterSetting{disabled: true}, true
	case m.GetConfig() == nil && m.GetIsOptional():
		return filterSetting{}, false
	case m.GetConfig() == nil:
		s.in("config").fail("is missing")
		return filterSetting{}, false
	}
	return l.ownSetting(s.in("config"), name, m.GetConfig(), m.GetIsOptional())
}

// ownSetting compiles a filter's own message.
func (l *routeLevel) ownSetting(s scope, name string, a *anypb.Any, optional bool) (filterSetting, bool) {
	switch kind := anyType(a); kind {
	case faultType:
		var m faultv3.HTTPFault
		if !s.check(unpack(a, &m)) {
			return filterSetting{}, false
		}
		return filterSetting{config: faultSpec(s, l.clusters, &m)}, true
	case localRateLimitType:
		var m localv3.LocalRateLimit
		if !s.check(unpack(a, &m)) {
			return filterSetting{}, false
		}
		if m.GetTokenBucket() == nil { // so does Envoy
			s.in("token_bucket").fail("is missing")
		}
		return filterSetting{config: rateLimitSpec(s, l.clusters, &m)}, true
	case corsPolicyType:
		var m corsv3.CorsPolicy
		if !s.check(unpack(a, &m)) {
			return filterSetting{}, false
		}
		return filterSetting{config: corsFieldsOf(s, &m)}, true
	case rbacPerRouteType:
		var m httprbacv3.RBACPerRoute
		if !s.check(unpack(a, &m)) {
			return filterSetting{}, false
		}
		return filterSetting{config: rbacSetting(s, &m)}, true
	case statefulPerRouteType:
		var m sessionv3.StatefulSessionPerRoute
		if !s.check(unpack(a, &m)) {
			return filterSetting{}, false
		}
		return sessionSetting(s, &m), true
	case statsType:
		l.clusters.ignored("typed_per_filter_config " + name + " of routes")
		return filterSetting{}, false
	default:
		if optional {
			l.clusters.ignored("typed_per_filter_config " + name + " of routes")
		} else {
			s.fail("%s is not supported", kind)
		}
		return filterSetting{}, false
	}
}

// overrides puts the levels together, the most specific one first: the first that
// says anything of a filter says whether it takes part, the first with a
// configuration gives that. Policies for CORS are completed field by field.
func overrides(levels ...filterSettings) []proxy.Override {
	names := make(map[string]bool)
	for _, level := range levels {
		for name := range level {
			names[name] = true
		}
	}
	var out []proxy.Override
	for _, name := range slices.Sorted(maps.Keys(names)) {
		o := proxy.Override{Name: unique.Make(name)}
		said := false
		var cors []*corsFields
		for _, level := range levels {
			set, ok := level[name]
			if !ok {
				continue
			}
			if !said {
				o.Disabled, said = set.disabled, true
			}
			if fields, ok := set.config.(*corsFields); ok {
				cors = append(cors, fields)
			} else if o.Config == nil {
				o.Config = set.config
			}
		}
		if len(cors) > 0 {
			o.Config = mergeCORS(cors)
		}
		out = append(out, o)
	}
	return out
}

// install gives a filter its place in the chain.
func install(spec *proxy.HTTPSpec, f interface {
	GetName() string
	GetDisabled() bool
}, made proxy.Filter,
) {
	if made == nil {
		return
	}
	spec.Filters = append(spec.Filters, proxy.Installed{Name: unique.Make(f.GetName()), Filter: made, Disabled: f.GetDisabled()})
}
