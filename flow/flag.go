package flow

import "strings"

// Flags is a set of response flags.
type Flags uint64

// Flag is one of Envoy's response flags. The order is Envoy's own, since several
// flags of a record are printed in it.
type Flag uint8

// The flags, in the order of Envoy's enumeration (envoy/stream_info/stream_info.h).
const (
	LocalHealthCheckFailed Flag = iota
	NoHealthyUpstream
	UpstreamRequestTimeout
	LocalReset
	UpstreamRemoteReset
	UpstreamConnectionFailure
	UpstreamConnectionTermination
	UpstreamOverflow
	NoRouteFound
	DelayInjected
	FaultInjected
	RateLimited
	UnauthorizedExternalService
	RateLimitServiceError
	DownstreamConnectionTermination
	UpstreamRetryLimitExceeded
	StreamIdleTimeout
	InvalidEnvoyRequestHeaders
	DownstreamProtocolError
	UpstreamMaxStreamDurationReached
	ResponseFromCacheFilter
	NoFilterConfigFound
	DurationTimeout
	UpstreamProtocolError
	NoClusterFound
	OverloadManagerTerminated
	DNSResolutionFailed
	DropOverload
	DownstreamRemoteReset
	UnconditionalDropOverload
	flagCount
)

// flagText holds the short form that logs and metrics print and what it means.
var flagText = [flagCount]struct{ short, meaning string }{
	LocalHealthCheckFailed:           {"LH", "local health check failed"},
	NoHealthyUpstream:                {"UH", "no healthy upstream endpoint in the cluster"},
	UpstreamRequestTimeout:           {"UT", "upstream request timeout"},
	LocalReset:                       {"LR", "connection local reset"},
	UpstreamRemoteReset:              {"UR", "upstream remote reset"},
	UpstreamConnectionFailure:        {"UF", "upstream connection failure"},
	UpstreamConnectionTermination:    {"UC", "upstream connection termination"},
	UpstreamOverflow:                 {"UO", "upstream overflow: a circuit breaker is open"},
	NoRouteFound:                     {"NR", "no route for the request, or no filter chain for the connection"},
	DelayInjected:                    {"DI", "delayed by fault injection"},
	FaultInjected:                    {"FI", "aborted by fault injection"},
	RateLimited:                      {"RL", "refused by a local rate limit"},
	UnauthorizedExternalService:      {"UAEX", "denied by the external authorization service"},
	RateLimitServiceError:            {"RLSE", "error from the rate limit service"},
	DownstreamConnectionTermination:  {"DC", "downstream connection termination"},
	UpstreamRetryLimitExceeded:       {"URX", "upstream retry limit or connect attempts exceeded"},
	StreamIdleTimeout:                {"SI", "stream idle timeout"},
	InvalidEnvoyRequestHeaders:       {"IH", "invalid value of a strictly checked header"},
	DownstreamProtocolError:          {"DPE", "downstream protocol error"},
	UpstreamMaxStreamDurationReached: {"UMSDR", "upstream max stream duration reached"},
	ResponseFromCacheFilter:          {"RFCF", "response served from a cache filter"},
	NoFilterConfigFound:              {"NFCF", "no filter configuration received in time"},
	DurationTimeout:                  {"DT", "connection or request exceeded its maximum duration"},
	UpstreamProtocolError:            {"UPE", "upstream protocol error"},
	NoClusterFound:                   {"NC", "upstream cluster not found"},
	OverloadManagerTerminated:        {"OM", "terminated by overload protection"},
	DNSResolutionFailed:              {"DF", "DNS resolution failed"},
	DropOverload:                     {"DO", "dropped by configured drop overload"},
	DownstreamRemoteReset:            {"DR", "downstream remote reset"},
	UnconditionalDropOverload:        {"UDO", "dropped by unconditional drop overload"},
}

// String returns the short form, such as "UF".
func (f Flag) String() string {
	if f < flagCount {
		return flagText[f].short
	}
	return "?"
}

// Meaning returns a short English phrase for documents.
func (f Flag) Meaning() string {
	if f < flagCount {
		return flagText[f].meaning
	}
	return "unknown"
}

// AllFlags lists every flag in order.
func AllFlags() []Flag {
	all := make([]Flag, flagCount)
	for i := range all {
		all[i] = Flag(i) //nolint:gosec // flagCount is far below 256
	}
	return all
}

// ParseFlag finds a flag by its short form.
func ParseFlag(short string) (Flag, bool) {
	for i, t := range flagText {
		if t.short == short {
			return Flag(i), true //nolint:gosec // flagCount is far below 256
		}
	}
	return 0, false
}

// Set adds a flag.
func (s *Flags) Set(f Flag) { *s |= 1 << f }

// Clear takes a flag away.
func (s *Flags) Clear(f Flag) { *s &^= 1 << f }

// Has reports whether a flag is set.
func (s Flags) Has(f Flag) bool { return s&(1<<f) != 0 }

// String joins the short forms with commas in Envoy's order; "-" when empty.
func (s Flags) String() string {
	if s == 0 {
		return "-"
	}
	if s&(s-1) == 0 { // a single flag: no allocation
		for f := range flagCount {
			if s.Has(f) {
				return f.String()
			}
		}
	}
	var b strings.Builder
	for f := range flagCount {
		if !s.Has(f) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f.String())
	}
	return b.String()
}
