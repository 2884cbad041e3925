package compile

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/outlier"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// outliers compiles how outliers are told; nil where they are not.
func outliers(s scope, m *clusterv3.OutlierDetection) *outlier.Config {
	if m == nil {
		return nil
	}
	c := outlier.Defaults()
	count := func(to *uint32, v *wrapperspb.UInt32Value) { *to = number(v, *to) }
	last := func(field string, to *time.Duration, v *durationpb.Duration) {
		*to = duration(v, *to)
		if v != nil && *to <= 0 && field != "max_ejection_time_jitter" {
			s.in(field).fail("has to be positive")
		}
	}
	last("interval", &c.Interval, m.GetInterval())
	last("base_ejection_time", &c.Base, m.GetBaseEjectionTime())
	c.Max = max(c.Max, c.Base)
	last("max_ejection_time", &c.Max, m.GetMaxEjectionTime())
	last("max_ejection_time_jitter", &c.Jitter, m.GetMaxEjectionTimeJitter())
	if c.Max < c.Base {
		s.in("max_ejection_time").fail("is below base_ejection_time")
	}
	count(&c.MaxPercent, m.GetMaxEjectionPercent())
	c.AlwaysOne = m.GetAlwaysEjectOneHost().GetValue()
	c.Split = m.GetSplitExternalLocalOriginErrors()
	count(&c.Consecutive[outlier.Consecutive5xx], m.GetConsecutive_5Xx())
	count(&c.Consecutive[outlier.ConsecutiveGateway], m.GetConsecutiveGatewayFailure())
	count(&c.Consecutive[outlier.ConsecutiveLocal], m.GetConsecutiveLocalOriginFailure())
	count(&c.Success.MinHosts, m.GetSuccessRateMinimumHosts())
	count(&c.Success.Volume, m.GetSuccessRateRequestVolume())
	count(&c.Success.Factor, m.GetSuccessRateStdevFactor())
	count(&c.Failure.MinHosts, m.GetFailurePercentageMinimumHosts())
	count(&c.Failure.Volume, m.GetFailurePercentageRequestVolume())
	count(&c.Failure.Factor, m.GetFailurePercentageThreshold())
	count(&c.Enforcing[outlier.Consecutive5xx], m.GetEnforcingConsecutive_5Xx())
	count(&c.Enforcing[outlier.ConsecutiveGateway], m.GetEnforcingConsecutiveGatewayFailure())
	count(&c.Enforcing[outlier.ConsecutiveLocal], m.GetEnforcingConsecutiveLocalOriginFailure())
	count(&c.Enforcing[outlier.SuccessRate], m.GetEnforcingSuccessRate())
	count(&c.Enforcing[outlier.SuccessRateLocal], m.GetEnforcingLocalOriginSuccessRate())
	count(&c.Enforcing[outlier.FailurePercentage], m.GetEnforcingFailurePercentage())
	count(&c.Enforcing[outlier.FailurePercentageLocal], m.GetEnforcingFailurePercentageLocalOrigin())
	return &c
}

// errorMatch compiles which responses are failures of their endpoint; nil where the
// status alone says so.
func errorMatch(s scope, m *matcherv3.MatchPredicate) func(*httpmsg.Response) bool {
	if m == nil {
		return nil
	}
	switch r := m.GetRule().(type) {
	case *matcherv3.MatchPredicate_AnyMatch:
		return func(*httpmsg.Response) bool { return r.AnyMatch }
	case *matcherv3.MatchPredicate_NotMatch:
		if not := errorMatch(s.in("not_match"), r.NotMatch); not != nil {
			return func(resp *httpmsg.Response) bool { return !not(resp) }
		}
	case *matcherv3.MatchPredicate_OrMatch:
		return severalMatch(s.in("or_match"), r.OrMatch.GetRules(), true)
	case *matcherv3.MatchPredicate_AndMatch:
		return severalMatch(s.in("and_match"), r.AndMatch.GetRules(), false)
	case *matcherv3.MatchPredicate_HttpResponseHeadersMatch:
		var all []match.Header
		for i, h := range r.HttpResponseHeadersMatch.GetHeaders() {
			all = append(all, headerMatch(s.in("http_response_headers_match").at("headers", i), h))
		}
		return func(resp *httpmsg.Response) bool {
			for i := range all {
				if !all[i].MatchResponse(resp) {
					return false
				}
			}
			return true
		}
	default:
		s.fail("rule %T is not supported", r)
	}
	return nil
}

// severalMatch is true once a rule says what decides, else when none does.
func severalMatch(s scope, rules []*matcherv3.MatchPredicate, decides bool) func(*httpmsg.Response) bool {
	var all []func(*httpmsg.Response) bool
	for i, r := range rules {
		if f := errorMatch(s.at("rules", i), r); f != nil {
			all = append(all, f)
		}
	}
	return func(resp *httpmsg.Response) bool {
		for _, f := range all {
			if f(resp) == decides {
				return decides
			}
		}
		return !decides
	}
}
