package proxy

import "github.com/outrigger-mesh/outrigger/proxy/httpmsg"

// Envoy holds the headers that it knows well at most once: what comes a second
// time is joined to the first with a comma. Everybody who reads such a header then
// reads all of it. The names are Envoy's own and those that its filters register;
// they differ between requests and responses.
var (
	joinedInRequests  = names(joinedInBoth, requestNames)  //nolint:gochecknoglobals // a table
	joinedInResponses = names(joinedInBoth, responseNames) //nolint:gochecknoglobals // a table
)

var joinedInBoth = []string{
	"content-type", "x-request-id", "via", "x-envoy-decorator-operation", "x-envoy-attempt-count", "proxy-status",
	"cache-control", "content-encoding",
}

var requestNames = []string{
	"accept", "accept-encoding", "authorization", "origin", "pragma", "referer", "user-agent", "expect",
	"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
	"access-control-request-method", "access-control-request-headers", "access-control-request-private-network",
	"grpc-timeout", "grpc-accept-encoding", "te",
	"x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-client-cert",
	"x-client-trace-id", "x-envoy-original-path", "x-envoy-original-host", "x-envoy-original-url",
	"x-envoy-external-address", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node",
	"x-envoy-is-timeout-retry", "x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries",
	"x-envoy-retriable-status-codes", "x-envoy-retriable-header-names", "x-envoy-upstream-alt-stat-name",
	"x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-expected-rq-timeout-ms",
}

var responseNames = []string{
	"date", "server", "location", "etag", "vary", "expires", "age", "last-modified", "grpc-status", "grpc-message",
	"access-control-allow-origin", "access-control-allow-headers", "access-control-allow-methods",
	"access-control-allow-credentials", "access-control-expose-headers", "access-control-max-age",
	"access-control-allow-private-network",
	"x-envoy-upstream-canary", "x-envoy-immediate-health-check-fail", "x-envoy-upstream-healthchecked-cluster",
	"x-envoy-degraded", "x-envoy-ratelimited", "x-envoy-upstream-service-time",
}

func names(lists ...[]string) map[string]bool {
	all := make(map[string]bool)
	for _, list := range lists {
		for _, name := range list {
			all[name] = true
		}
	}
	return all
}

// repeats finds in one pass over a header the fields that may repeat an earlier
// one: a small set of what was seen, which can be wrong only by saying yes.
type repeats uint64

// add notes a name and reports whether it may have been there before.
func (s *repeats) add(name string) bool {
	n := len(name)
	if n == 0 {
		return false
	}
	bit := repeats(1) << ((uint(n)*5 + uint(name[0]) + uint(name[n-1])*3 + uint(name[n/2])*7) & 63)
	before := *s&bit != 0
	*s |= bit
	return before
}

// joinTo adds a value to the field of that name among kept. It reports false if
// there is none.
func joinTo(kept []httpmsg.Field, name, value string) bool {
	for i := range kept {
		if kept[i].Name == name {
			kept[i].Value = joined(kept[i].Value, value)
			return true
		}
	}
	return false
}

// joined puts two values of one header together. An empty one adds nothing, not
// even a comma.
func joined(first, second string) string {
	switch {
	case first == "":
		return second
	case second == "":
		return first
	default:
		return first + "," + second
	}
}
