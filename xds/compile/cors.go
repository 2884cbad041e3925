package compile

import (
	"slices"
	"unique"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

const (
	corsType       = "envoy.extensions.filters.http.cors.v3.Cors"
	corsPolicyType = "envoy.extensions.filters.http.cors.v3.CorsPolicy"
)

// cors compiles the filter of a chain.
func (c *Compiler) cors(prefix string, f *hcmv3.HttpFilter) proxy.Filter {
	return filter.NewCORS(unique.Make(f.GetName()), c.pages.of(prefix))
}

// corsFields is the policy of one level; what it does not say is for the next one.
type corsFields struct {
	policy                               filter.CORSPolicy
	credentials, privateNetwork, forward *bool
}

func corsFieldsOf(s scope, m *corsv3.CorsPolicy) *corsFields {
	out := &corsFields{policy: filter.CORSPolicy{
		Methods: m.GetAllowMethods(), Headers: m.GetAllowHeaders(), Expose: m.GetExposeHeaders(), MaxAge: m.GetMaxAge(),
		Enabled: runtimeShare(m.GetFilterEnabled(), filter.Everything), Shadow: runtimeShare(m.GetShadowEnabled(), filter.Share{}),
	}}
	for i, o := range m.GetAllowOriginStringMatch() {
		out.policy.Origins = append(out.policy.Origins, *stringMatch(s.at("allow_origin_string_match", i), o))
	}
	set := func(into **bool, from interface{ GetValue() bool }, there bool) {
		if there {
			v := from.GetValue()
			*into = &v
		}
	}
	set(&out.credentials, m.GetAllowCredentials(), m.GetAllowCredentials() != nil)
	set(&out.privateNetwork, m.GetAllowPrivateNetworkAccess(), m.GetAllowPrivateNetworkAccess() != nil)
	set(&out.forward, m.GetForwardNotMatchingPreflights(), m.GetForwardNotMatchingPreflights() != nil)
	return out
}

// mergeCORS takes each field from the first level that has it; whether a policy
// applies at all is what the first one says.
func mergeCORS(levels []*corsFields) *filter.CORSPolicy {
	out := &filter.CORSPolicy{Forward: true, Enabled: levels[0].policy.Enabled, Shadow: levels[0].policy.Shadow}
	for _, l := range slices.Backward(levels) {
		if len(l.policy.Origins) > 0 {
			out.Origins = l.policy.Origins
		}
		for _, f := range []struct {
			to   *string
			from string
		}{
			{&out.Methods, l.policy.Methods},
			{&out.Headers, l.policy.Headers},
			{&out.Expose, l.policy.Expose},
			{&out.MaxAge, l.policy.MaxAge},
		} {
			if f.from != "" {
				*f.to = f.from
			}
		}
		for _, f := range []struct{ to, from *bool }{
			{&out.Credentials, l.credentials}, {&out.PrivateNetwork, l.privateNetwork}, {&out.Forward, l.forward},
		} {
			if f.from != nil {
				*f.to = *f.from
			}
		}
	}
	return out
}
