package compile

import (
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
	for _, h := range p.GetRetryHostPredicate() {
		if h.GetName() == previousHostsName {
			out.PreviousHosts = true
		}
	}
	return out
}
