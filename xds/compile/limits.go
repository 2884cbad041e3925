package compile

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/upstream"
)

// Envoy's defaults.
const (
	defaultThreshold     = 1024
	defaultRetries       = 3
	defaultBudgetPercent = 20
	defaultBudgetLeast   = 3
)

// limits takes the thresholds of a priority: the first ones count.
func limits(s scope, cb *clusterv3.CircuitBreakers, priority corev3.RoutingPriority) upstream.Limits {
	var of *clusterv3.CircuitBreakers_Thresholds
	for i, t := range cb.GetThresholds() {
		if t.GetPriority() == priority {
			s, of = s.at("thresholds", i), t
			break
		}
	}
	out := upstream.Limits{
		Connections: limit(of.GetMaxConnections(), defaultThreshold), Pending: limit(of.GetMaxPendingRequests(), defaultThreshold),
		Requests: limit(of.GetMaxRequests(), defaultThreshold), Retries: limit(of.GetMaxRetries(), defaultRetries),
		Tell: of.GetTrackRemaining(),
	}
	if b := of.GetRetryBudget(); b != nil {
		out.Budget = &upstream.Budget{Percent: defaultBudgetPercent, Least: number(b.GetMinRetryConcurrency(), defaultBudgetLeast)}
		if p := b.GetBudgetPercent(); p != nil {
			out.Budget.Percent = p.GetValue()
			if p.GetValue() < 0 || p.GetValue() > 100 {
				s.in("retry_budget.budget_percent").fail("is not between 0 and 100")
			}
		}
	}
	return out
}

// limit tells an explicit zero, which allows nothing, from no value.
func limit(v *wrapperspb.UInt32Value, fallback upstream.Limit) upstream.Limit {
	switch {
	case v == nil:
		return fallback
	case v.GetValue() == 0:
		return upstream.None
	default:
		return upstream.Limit(v.GetValue())
	}
}
