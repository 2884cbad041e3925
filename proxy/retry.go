package proxy

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/match"
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
	// HeaderNames and Headers are those of response fields that call for another attempt.
	HeaderNames []string
	Headers     []match.Header
	// RequestHeaders, where there are any, say which requests may be repeated at all.
	RequestHeaders []match.Header
	// PerTryIdle is how long an attempt may be without anything from its upstream.
	PerTryIdle time.Duration
	// Resets are where a response may say how long to wait, MaxReset at most.
	Resets   []ResetHeader
	MaxReset time.Duration
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
	if !ok || fe.Side == flow.SideDownstream || fe == errStreamIdle {
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
		rt.On&RetryOnHeaders != 0 && rt.wantsHeaders(resp):
		return true
	}
	if rt.On&retryOnGRPC != 0 {
		if status, ok := resp.Header.Get("grpc-status"); ok {
			return rt.On&grpcRetries[status] != 0
		}
	}
	return false
}

// wantsHeaders looks for the fields that call for another attempt.
func (rt *Retry) wantsHeaders(resp *httpmsg.Response) bool {
	if slices.ContainsFunc(rt.HeaderNames, resp.Header.Has) {
		return true
	}
	as := httpmsg.Request{Header: resp.Header}
	for i := range rt.Headers {
		h := &rt.Headers[i]
		if h.Name() == ":status" && h.MatchValue(decimal(resp.Status)) || h.Name() != ":status" && h.Match(&as) {
			return true
		}
	}
	return false
}

// mayRepeat reports whether requests like this one are repeated.
func (rt *Retry) mayRepeat(r *httpmsg.Request) bool {
	for i := range rt.RequestHeaders {
		if rt.RequestHeaders[i].Match(r) {
			return true
		}
	}
	return len(rt.RequestHeaders) == 0
}

// ResetHeader is a response's field that says when to come again.
type ResetHeader struct {
	Name string // lower case
	// Timestamp: in seconds since 1970, instead of in seconds from now.
	Timestamp bool
}

// reset is how long a response asks to wait; 0 is not at all.
func (rt *Retry) reset(h *httpmsg.Header, now time.Time) time.Duration {
	for _, r := range rt.Resets {
		n, err := strconv.ParseUint(h.Value(r.Name), 10, 33)
		if err != nil {
			continue
		}
		wait := time.Duration(n) * time.Second //nolint:gosec // 33 bits
		if r.Timestamp {
			wait = time.Unix(int64(n), 0).Sub(now.Truncate(time.Second)) //nolint:gosec // as above
		}
		if wait > 0 && wait <= rt.MaxReset {
			return wait
		}
	}
	return 0
}

// wait is how long to wait before retry number k: as long as the response asks, and up
// to half of that more, or else the back-off.
func (rt *Retry) wait(k int, resp *httpmsg.Response, now time.Time) time.Duration {
	if resp != nil && len(rt.Resets) > 0 {
		if d := rt.reset(&resp.Header, now); d > 0 {
			return d + rand.N(d/2) //nolint:gosec // jitter
		}
	}
	return rt.backoff(k)
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
