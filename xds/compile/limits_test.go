package compile_test

import (
	"reflect"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestCircuitBreakersAreCompiled(t *testing.T) {
	t.Parallel()
	type thresholds = clusterv3.CircuitBreakers_Thresholds
	type budget = clusterv3.CircuitBreakers_Thresholds_RetryBudget
	defaults := upstream.Limits{Connections: 1024, Pending: 1024, Requests: 1024, Retries: 3}
	with := func(edit func(*upstream.Limits)) upstream.Limits {
		l := defaults
		edit(&l)
		return l
	}
	for _, tt := range []struct {
		name      string
		m         []*thresholds
		want, top upstream.Limits
	}{
		{name: "none", want: defaults, top: defaults},
		{"all", []*thresholds{{MaxConnections: u32(1), MaxPendingRequests: u32(2), MaxRequests: u32(3), MaxRetries: u32(4), TrackRemaining: true}}, upstream.Limits{Connections: 1, Pending: 2, Requests: 3, Retries: 4, Tell: true}, defaults},
		{"zero allows nothing", []*thresholds{{MaxRetries: u32(0)}}, with(func(l *upstream.Limits) { l.Retries = upstream.None }), defaults},
		{"the most there is", []*thresholds{{MaxConnections: u32(1<<32 - 1)}}, with(func(l *upstream.Limits) { l.Connections = 1<<32 - 1 }), defaults},
		{"the first of a priority counts", []*thresholds{{MaxRequests: u32(7)}, {MaxRequests: u32(8)}}, with(func(l *upstream.Limits) { l.Requests = 7 }), defaults},
		{"high", []*thresholds{{Priority: corev3.RoutingPriority_HIGH, MaxRequests: u32(7)}}, defaults, with(func(l *upstream.Limits) { l.Requests = 7 })},
		{"a budget", []*thresholds{{RetryBudget: &budget{BudgetPercent: &typev3.Percent{Value: 12.5}, MinRetryConcurrency: u32(9)}}}, with(func(l *upstream.Limits) { l.Budget = &upstream.Budget{Percent: 12.5, Least: 9} }), defaults},
		{"a budget of defaults", []*thresholds{{RetryBudget: &budget{}}}, with(func(l *upstream.Limits) { l.Budget = &upstream.Budget{Percent: 20, Least: 3} }), defaults},
	} {
		spec, err := specOf(t, func(m *clusterv3.Cluster) { m.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: tt.m} })
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if !reflect.DeepEqual(spec.Limits, tt.want) || !reflect.DeepEqual(spec.HighLimits, tt.top) {
			t.Errorf("%s: got %+v and %+v\nwant %+v and %+v", tt.name, spec.Limits, spec.HighLimits, tt.want, tt.top)
		}
	}
}
