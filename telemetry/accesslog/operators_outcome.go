package accesslog

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/flow"
)

// longFlags are the names of RESPONSE_FLAGS_LONG.
var longFlags = [...]string{
	flow.LocalHealthCheckFailed:           "FailedLocalHealthCheck",
	flow.NoHealthyUpstream:                "NoHealthyUpstream",
	flow.UpstreamRequestTimeout:           "UpstreamRequestTimeout",
	flow.LocalReset:                       "LocalReset",
	flow.UpstreamRemoteReset:              "UpstreamRemoteReset",
	flow.UpstreamConnectionFailure:        "UpstreamConnectionFailure",
	flow.UpstreamConnectionTermination:    "UpstreamConnectionTermination",
	flow.UpstreamOverflow:                 "UpstreamOverflow",
	flow.NoRouteFound:                     "NoRouteFound",
	flow.DelayInjected:                    "DelayInjected",
	flow.FaultInjected:                    "FaultInjected",
	flow.RateLimited:                      "RateLimited",
	flow.UnauthorizedExternalService:      "UnauthorizedExternalService",
	flow.RateLimitServiceError:            "RateLimitServiceError",
	flow.DownstreamConnectionTermination:  "DownstreamConnectionTermination",
	flow.UpstreamRetryLimitExceeded:       "UpstreamRetryLimitExceeded",
	flow.StreamIdleTimeout:                "StreamIdleTimeout",
	flow.InvalidEnvoyRequestHeaders:       "InvalidEnvoyRequestHeaders",
	flow.DownstreamProtocolError:          "DownstreamProtocolError",
	flow.UpstreamMaxStreamDurationReached: "UpstreamMaxStreamDurationReached",
	flow.ResponseFromCacheFilter:          "ResponseFromCacheFilter",
	flow.NoFilterConfigFound:              "NoFilterConfigFound",
	flow.DurationTimeout:                  "DurationTimeout",
	flow.UpstreamProtocolError:            "UpstreamProtocolError",
	flow.NoClusterFound:                   "NoClusterFound",
	flow.OverloadManagerTerminated:        "OverloadManagerTerminated",
	flow.DNSResolutionFailed:              "DnsResolutionFailed",
	flow.DropOverload:                     "DropOverload",
	flow.DownstreamRemoteReset:            "DownstreamRemoteReset",
	flow.UnconditionalDropOverload:        "UnconditionalDropOverload",
}

func flagsShort(dst []byte, r *flow.Record) ([]byte, bool) {
	return joinFlags(dst, r, flow.Flag.String)
}

func flagsLong(dst []byte, r *flow.Record) ([]byte, bool) {
	return joinFlags(dst, r, func(f flow.Flag) string {
		if int(f) < len(longFlags) {
			return longFlags[f]
		}
		return f.String()
	})
}

// joinFlags is Flags.String without its allocation, except that of an HTTP
// exchange the exceeded retries come first, as Envoy notes them. No flag is a dash even where
// absent values are left out or become null, as in Envoy.
func joinFlags(dst []byte, r *flow.Record, name func(flow.Flag) string) ([]byte, bool) {
	set := r.Flags
	if set == 0 {
		return append(dst, '-'), true
	}
	mark := len(dst)
	if r.HTTP && set.Has(flow.UpstreamRetryLimitExceeded) {
		set.Clear(flow.UpstreamRetryLimitExceeded)
		dst = append(dst, name(flow.UpstreamRetryLimitExceeded)...)
	}
	for rest := uint64(set); rest != 0; rest &= rest - 1 {
		if len(dst) > mark {
			dst = append(dst, ',')
		}
		f := flow.Flag(bits.TrailingZeros64(rest)) //nolint:gosec // below 64
		dst = append(dst, name(f)...)
	}
	return dst, true
}

// grpcCodes are the status names in both spellings, in order of their numbers.
var grpcCodes = [...]struct{ camel, snake string }{
	{"OK", "OK"},
	{"Canceled", "CANCELLED"},
	{"Unknown", "UNKNOWN"},
	{"InvalidArgument", "INVALID_ARGUMENT"},
	{"DeadlineExceeded", "DEADLINE_EXCEEDED"},
	{"NotFound", "NOT_FOUND"},
	{"AlreadyExists", "ALREADY_EXISTS"},
	{"PermissionDenied", "PERMISSION_DENIED"},
	{"ResourceExhausted", "RESOURCE_EXHAUSTED"},
	{"FailedPrecondition", "FAILED_PRECONDITION"},
	{"Aborted", "ABORTED"},
	{"OutOfRange", "OUT_OF_RANGE"},
	{"Unimplemented", "UNIMPLEMENTED"},
	{"Internal", "INTERNAL"},
	{"Unavailable", "UNAVAILABLE"},
	{"DataLoss", "DATA_LOSS"},
	{"Unauthenticated", "UNAUTHENTICATED"},
}

// grpcStatus finds the status in the trailers, or in the head of a response that
// has no body. A gRPC request whose response has none gets what a gRPC client makes
// of the HTTP status.
func grpcStatus(r *flow.Record) (int, bool) {
	if n, ok := ownGRPCStatus(r); ok {
		return n, true
	}
	kind, _ := header(r.Request.Head, "content-type")
	rest, ok := strings.CutPrefix(kind, "application/grpc")
	if !ok || rest != "" && rest[0] != '+' || r.Response.Status == 0 {
		return 0, false
	}
	if n, ok := grpcOfHTTP[r.Response.Status]; ok {
		return n, true
	}
	return 2, true // Unknown
}

// grpcOfHTTP is gRPC's own table of HTTP statuses.
var grpcOfHTTP = map[int]int{400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}

func ownGRPCStatus(r *flow.Record) (int, bool) {
	v, ok := header(r.Response.Trailer, "grpc-status")
	if !ok {
		v, ok = header(r.Response.Head, "grpc-status")
	}
	if !ok || v == "" || len(v) > 9 {
		return 0, false
	}
	n := 0
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return 0, false
		}
		n = n*10 + int(v[i]-'0')
	}
	return n, true
}

func grpcStatusNumber(dst []byte, r *flow.Record) ([]byte, bool) {
	n, ok := grpcStatus(r)
	if !ok {
		return dst, false
	}
	return strconv.AppendInt(dst, int64(n), 10), true
}

func buildGRPCStatus(arg string, _ *Environment) (valueFunc, error) {
	switch arg {
	case "NUMBER":
		return grpcStatusNumber, nil
	case "", "CAMEL_STRING", "SNAKE_STRING":
	default:
		return nil, fmt.Errorf("%q is none of CAMEL_STRING, SNAKE_STRING, NUMBER", arg)
	}
	snake := arg == "SNAKE_STRING"
	return func(dst []byte, r *flow.Record) ([]byte, bool) {
		n, ok := grpcStatus(r)
		switch {
		case !ok:
			return dst, false
		case n >= len(grpcCodes):
			return strconv.AppendInt(dst, int64(n), 10), true
		case snake:
			return append(dst, grpcCodes[n].snake...), true
		default:
			return append(dst, grpcCodes[n].camel...), true
		}
	}, nil
}
