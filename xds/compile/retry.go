package compile

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
)

type regexRewrite = matcherv3.RegexMatchAndSubstitute

// Envoy's defaults.
const (
	defaultRouteTimeout = 15 * time.Second
	defaultBackoffBase  = 25 * time.Millisecond
	defaultMaxReset     = 300 * time.Second
	previousHostsName   = "envoy.retry_host_predicates.previous_hosts"
)

// retryPolicy compiles a retry policy; nil where there is none.
func retryPolicy(s scope, p *routev3.RetryPolicy) *proxy.Retry {
	if p == nil {
		return nil
	}
	out := &proxy.Retry{
		On:           proxy.ParseRetryOn(p.GetRetryOn()),
		Max:          int(number(p.GetNumRetries(), 1)),
		PerTry:       duration(p.GetPerTryTimeout(), 0),
		HostAttempts: int(p.GetHostSelectionRetryMaxAttempts()),
		BackoffBase:  duration(p.GetRetryBackOff().GetBaseInterval(), defaultBackoffBase),
	}
	out.BackoffMax = duration(p.GetRetryBackOff().GetMaxInterval(), 10*out.BackoffBase)
	if out.BackoffMax < out.BackoffBase {
		s.in("retry_back_off").fail("max_interval is below base_interval")
	}
	for _, code := range p.GetRetriableStatusCodes() {
		out.StatusCodes = append(out.StatusCodes, int(code))
	}
	for i, h := range p.GetRetriableHeaders() {
		out.Headers = append(out.Headers, headerMatch(s.at("retriable_headers", i), h))
	}
	for i, h := range p.GetRetriableRequestHeaders() {
		out.RequestHeaders = append(out.RequestHeaders, headerMatch(s.at("retriable_request_headers", i), h))
	}
	out.PerTryIdle = duration(p.GetPerTryIdleTimeout(), 0)
	resets(s.in("rate_limited_retry_back_off"), out, p.GetRateLimitedRetryBackOff())
	for _, h := range p.GetRetryHostPredicate() {
		if h.GetName() == previousHostsName {
			out.PreviousHosts = true
		}
	}
	return out
}

// resets compiles where responses may say how long to wait.
func resets(s scope, out *proxy.Retry, m *routev3.RetryPolicy_RateLimitedRetryBackOff) {
	if m == nil {
		return
	}
	out.MaxReset = duration(m.GetMaxInterval(), defaultMaxReset)
	for i, h := range m.GetResetHeaders() {
		if f := h.GetFormat(); f != routev3.RetryPolicy_SECONDS && f != routev3.RetryPolicy_UNIX_TIMESTAMP {
			s.at("reset_headers", i).fail("format %v is not supported", f)
		}
		out.Resets = append(out.Resets, proxy.ResetHeader{
			Name: strings.ToLower(h.GetName()), Timestamp: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP,
		})
	}
}
