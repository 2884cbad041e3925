package proxy

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// RetryOn is a set of the conditions of a retry policy.
type RetryOn uint32

// The conditions, with the tokens of Envoy's retry_on.
const (
	RetryOn5xx RetryOn = 1 << iota
	RetryOnGatewayError
	RetryOnConnectFailure
	RetryOnRefusedStream
	RetryOnReset
	RetryOnResetBeforeRequest
	RetryOnRetriable4xx
	RetryOnStatusCodes
	RetryOnRateLimited
	RetryOnHeaders
	RetryOnGRPCCancelled
	RetryOnGRPCDeadlineExceeded
	RetryOnGRPCInternal
	RetryOnGRPCResourceExhausted
	RetryOnGRPCUnavailable
)

var retryTokens = map[string]RetryOn{
	"5xx": RetryOn5xx, "gateway-error": RetryOnGatewayError, "connect-failure": RetryOnConnectFailure,
	"refused-stream": RetryOnRefusedStream, "reset": RetryOnReset, "reset-before-request": RetryOnResetBeforeRequest,
	"retriable-4xx": RetryOnRetriable4xx, "retriable-status-codes": RetryOnStatusCodes, "envoy-ratelimited": RetryOnRateLimited,
	"retriable-headers": RetryOnHeaders,
	"cancelled":         RetryOnGRPCCancelled, "deadline-exceeded": RetryOnGRPCDeadlineExceeded, "internal": RetryOnGRPCInternal,
	"resource-exhausted": RetryOnGRPCResourceExhausted, "unavailable": RetryOnGRPCUnavailable,
}

// ParseRetryOn reads a comma-separated list. Tokens that are not known are passed
// over, as in Envoy.
func ParseRetryOn(list string) RetryOn {
	var on RetryOn
	for token := range strings.SplitSeq(list, ",") {
		on |= retryTokens[strings.TrimSpace(token)]
	}
	return on
}

// The back-off of Envoy: 25 ms, at most ten times that.
const (
	defaultBackoffBase = 25 * time.Millisecond
	backoffCap         = 10
)

// Retry is a rule's retry policy.
type Retry struct {
	On          RetryOn
	Max         int
	PerTry      time.Duration
	StatusCodes []int
	// HeaderNames are those of response fields that call for another attempt.
	HeaderNames []string
	// PreviousHosts avoids endpoints that were tried, for HostAttempts further
	// picks.
	PreviousHosts bool
	HostAttempts  int
	BackoffBase   time.Duration
	BackoffMax    time.Duration
}

// wantsError reports whether a failed attempt may be repeated.
func (rt *Retry) wantsError(err error) bool {
	fe, ok := flow.AsError(err)
	if !ok || fe.Side == flow.SideDownstream || fe.Flag == flow.StreamIdleTimeout {
		return false
	}
	switch fe.Kind {
	case flow.KindOverflow, flow.KindNoEndpoint, flow.KindNoCluster, flow.KindCancelled:
		return false
	case flow.KindConnectFailure, flow.KindConnectTimeout, flow.KindTLSFailure:
		if rt.On&RetryOnConnectFailure != 0 {
			return true
		}
	case flow.KindRefusedStream:
		if rt.On&RetryOnRefusedStream != 0 {
			return true
		}
	case flow.KindOther, flow.KindTermination, flow.KindReset, flow.KindProtocol, flow.KindTimeout:
	}
	if rt.On&RetryOnResetBeforeRequest != 0 && fe.Retry == flow.RetryUnsent {
		return true
	}
	return rt.On&(RetryOn5xx|RetryOnGatewayError|RetryOnReset) != 0
}

// grpcRetries maps gRPC's status in a response's head to its condition.
var grpcRetries = map[string]RetryOn{
	"1": RetryOnGRPCCancelled, "4": RetryOnGRPCDeadlineExceeded, "8": RetryOnGRPCResourceExhausted,
	"13": RetryOnGRPCInternal, "14": RetryOnGRPCUnavailable,
}

const retryOnGRPC = RetryOnGRPCCancelled | RetryOnGRPCDeadlineExceeded | RetryOnGRPCInternal | RetryOnGRPCResourceExhausted | RetryOnGRPCUnavailable

// wantsResponse reports whether a response calls for another attempt.
func (rt *Retry) wantsResponse(resp *httpmsg.Response) bool {
	if resp.Status >= 400 && resp.Header.Has("x-envoy-ratelimited") {
		return rt.On&RetryOnRateLimited != 0
	}
	switch s := resp.Status; {
	case rt.On&RetryOn5xx != 0 && s >= 500,
		rt.On&RetryOnGatewayError != 0 && s >= 502 && s <= 504,
		rt.On&RetryOnRetriable4xx != 0 && s == 409,
		rt.On&RetryOnStatusCodes != 0 && slices.Contains(rt.StatusCodes, s),
		rt.On&RetryOnHeaders != 0 && slices.ContainsFunc(rt.HeaderNames, resp.Header.Has):
		return true
	}
	if rt.On&retryOnGRPC != 0 {
		if status, ok := resp.Header.Get("grpc-status"); ok {
			return rt.On&grpcRetries[status] != 0
		}
	}
	return false
}

// backoff is the wait before retry number k, counted from 0: full jitter over an
// interval that doubles.
func (rt *Retry) backoff(k int) time.Duration {
	base := rt.BackoffBase
	if base <= 0 {
		base = defaultBackoffBase
	}
	most := rt.BackoffMax
	if most <= 0 {
		most = backoffCap * base
	}
	interval := most
	if k < 16 && base<<k < most {
		interval = base << k
	}
	return rand.N(interval) //nolint:gosec // jitter
}
