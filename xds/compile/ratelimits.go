package compile

import (
	"time"
	"unique"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

const localRateLimitType = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"

// localRateLimit compiles the filter of a chain, which need not limit anything itself.
func (c *Compiler) localRateLimit(s scope, f *hcmv3.HttpFilter) proxy.Filter {
	var m localv3.LocalRateLimit
	if !s.check(unpack(f.GetTypedConfig(), &m)) {
		return nil
	}
	return filter.NewRateLimit(unique.Make(f.GetName()), *rateLimitSpec(s, c, &m))
}

// rateLimitSpec compiles a limit. Its bucket lives as long as what is compiled does.
func rateLimitSpec(s scope, from clusterSource, m *localv3.LocalRateLimit) *filter.RateLimitSpec {
	s.only(m, "stat_prefix", "status", "token_bucket", "filter_enabled", "filter_enforced", "response_headers_to_add",
		"request_headers_to_add_when_not_enforced", "enable_x_ratelimit_headers", "rate_limited_as_resource_exhausted",
		"stage", "vh_rate_limits", "always_consume_default_token_bucket")
	out := &filter.RateLimitSpec{
		Enabled: runtimeShare(m.GetFilterEnabled(), filter.Share{}), Enforced: runtimeShare(m.GetFilterEnforced(), filter.Share{}),
		Status:   429,
		Response: headerEdits(s.in("response_headers_to_add"), m.GetResponseHeadersToAdd(), nil),
		Request:  headerEdits(s.in("request_headers_to_add_when_not_enforced"), m.GetRequestHeadersToAddWhenNotEnforced(), nil),
		Tell:     m.GetEnableXRatelimitHeaders() == ratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03,
		Counts:   from.rateLimits(m.GetStatPrefix()),
	}
	if code := int(m.GetStatus().GetCode()); code >= 400 { // as in Envoy, nothing else is an answer to too many
		out.Status = code
	}
	if m.GetRateLimitedAsResourceExhausted() {
		out.GRPCStatus = 8
	}
	if b := m.GetTokenBucket(); b != nil {
		interval := b.GetFillInterval().AsDuration()
		if interval < 50*time.Millisecond {
			s.in("token_bucket.fill_interval").fail("%v is less than 50ms", interval)
			interval = time.Second
		}
		out.Bucket = filter.NewBucket(time.Now(), b.GetMaxTokens(), number(b.GetTokensPerFill(), 1), interval)
	}
	return out
}
