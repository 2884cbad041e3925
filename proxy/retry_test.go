package proxy

import (
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func failure(kind flow.Kind, retry flow.Retry) error {
	return &flow.Error{Side: flow.SideUpstream, Kind: kind, Retry: retry}
}

func TestRetryConditionsOfFailures(t *testing.T) {
	t.Parallel()
	refused := failure(flow.KindConnectFailure, flow.RetryUnsent)
	reset := failure(flow.KindTermination, flow.RetryReset)
	unsent := failure(flow.KindTermination, flow.RetryUnsent)
	stream := failure(flow.KindRefusedStream, flow.RetryUnsent)
	timeout := failure(flow.KindTimeout, flow.RetryReset)
	overflow := failure(flow.KindOverflow, flow.RetryUnsent)
	left := &flow.Error{Side: flow.SideDownstream, Kind: flow.KindCancelled}
	tests := []struct {
		on   string
		yes  []error
		no   []error
		name string
	}{
		{name: "5xx", on: "5xx", yes: []error{refused, reset, unsent, stream, timeout}, no: []error{overflow, left}},
		{name: "gateway-error", on: "gateway-error", yes: []error{refused, reset, timeout}, no: []error{overflow}},
		{name: "connect-failure", on: "connect-failure", yes: []error{refused}, no: []error{reset, unsent, stream, timeout, overflow}},
		{name: "refused-stream", on: "refused-stream", yes: []error{stream}, no: []error{refused, reset, timeout}},
		{name: "reset", on: "reset", yes: []error{refused, reset, timeout}, no: []error{overflow, left}},
		{name: "reset-before-request", on: "reset-before-request", yes: []error{refused, unsent}, no: []error{reset, timeout, overflow}},
		{name: "status only", on: "retriable-4xx,retriable-status-codes,unavailable", no: []error{refused, reset, timeout}},
		{name: "istiod's default", on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes,nonsense", yes: []error{refused, stream}, no: []error{reset, unsent, timeout}},
	}
	for _, tt := range tests {
		rt := &Retry{On: ParseRetryOn(tt.on)}
		for _, err := range tt.yes {
			if !rt.wantsError(err) {
				t.Errorf("%s: %+v is not retried", tt.name, err)
			}
		}
		for _, err := range tt.no {
			if rt.wantsError(err) {
				t.Errorf("%s: %+v is retried", tt.name, err)
			}
		}
	}
}

func TestRetryConditionsOfResponses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		on     string
		status int
		codes  []int
		field  [2]string
		want   bool
	}{
		{on: "5xx", status: 500, want: true},
		{on: "5xx", status: 499},
		{on: "gateway-error", status: 503, want: true},
		{on: "gateway-error", status: 500},
		{on: "gateway-error", status: 505},
		{on: "retriable-4xx", status: 409, want: true},
		{on: "retriable-4xx", status: 404},
		{on: "retriable-status-codes", status: 418, codes: []int{418}, want: true},
		{on: "retriable-status-codes", status: 417, codes: []int{418}},
		{on: "5xx", status: 503, field: [2]string{"x-envoy-ratelimited", "true"}},
		{on: "5xx,envoy-ratelimited", status: 503, field: [2]string{"x-envoy-ratelimited", "true"}, want: true},
		{on: "unavailable", status: 200, field: [2]string{"grpc-status", "14"}, want: true},
		{on: "cancelled", status: 200, field: [2]string{"grpc-status", "1"}, want: true},
		{on: "unavailable", status: 200, field: [2]string{"grpc-status", "0"}},
		{on: "connect-failure", status: 503},
		{on: "retriable-headers", status: 200, field: [2]string{"x-again", "1"}, want: true},
		{on: "retriable-headers", status: 200, field: [2]string{"x-other", "1"}},
		{on: "reset", status: 200, field: [2]string{"x-again", "1"}},
	}
	for _, tt := range tests {
		resp := &httpmsg.Response{Status: tt.status}
		if tt.field[0] != "" {
			resp.Header.Add(tt.field[0], tt.field[1])
		}
		rt := &Retry{On: ParseRetryOn(tt.on), StatusCodes: tt.codes, HeaderNames: []string{"x-again"}}
		if got := rt.wantsResponse(resp); got != tt.want {
			t.Errorf("%s on %d %v: got %v", tt.on, tt.status, tt.field, got)
		}
	}
}

func TestBackoffIsJitteredAndCapped(t *testing.T) {
	t.Parallel()
	rt := &Retry{}
	for k := range 40 {
		most := min(defaultBackoffBase<<min(k, 10), backoffCap*defaultBackoffBase)
		for range 50 {
			if d := rt.backoff(k); d < 0 || d >= most {
				t.Fatalf("retry %d waits %v, most is %v", k, d, most)
			}
		}
	}
	if d := (&Retry{BackoffBase: time.Second, BackoffMax: time.Millisecond}).backoff(0); d >= time.Millisecond {
		t.Errorf("waits %v", d)
	}
}

func TestWeightsAreKept(t *testing.T) {
	t.Parallel()
	clusters := []WeightedCluster{{Weight: 80}, {Weight: 0}, {Weight: 20}}
	var got [3]int
	for random := range uint64(10000) {
		w := pick(clusters, random)
		for i := range clusters {
			if w == &clusters[i] {
				got[i]++
			}
		}
	}
	if got != [3]int{8000, 0, 2000} {
		t.Errorf("got %v", got)
	}
	if pick([]WeightedCluster{{}, {}}, 5) != nil {
		t.Error("a cluster was picked from no weight at all")
	}
}
