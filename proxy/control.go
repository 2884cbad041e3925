package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/route"
)

// limits are the bounds of one exchange: its rule's, and what the request is
// allowed to change of them.
type limits struct {
	timeout time.Duration // from the end of the request to the end of the response; 0 is none
	retry   *Retry        // nil is none
	perTry  time.Duration
	// perStream bounds an attempt as a whole, where a request says so; 0 is what its
	// cluster says.
	perStream time.Duration
}

// GRPCTimeout says what a rule makes of a gRPC request's own timeout.
type GRPCTimeout struct {
	// Max caps it; 0 is no cap. Offset is taken off where something is left.
	Max, Offset time.Duration
	// Replaces: it takes the place of the rule's Timeout, also where the request
	// brings none. Otherwise it bounds the whole exchange like MaxDuration.
	Replaces bool
}

// decide finds the exchange's limits before the request is prepared.
func (x *Exchange) decide() limits {
	rule := x.Rule
	l := limits{timeout: rule.Timeout, retry: rule.Retry}
	if rule.GRPC != nil && rule.GRPC.Replaces && route.IsGRPC(x.Request) {
		l.timeout = rule.GRPC.bound(grpcTimeout(&x.Request.Header))
	}
	if l.retry != nil {
		l.perTry = l.retry.PerTry
	}
	if x.passage.internal {
		x.obey(&l)
	}
	if l.timeout > 0 && l.perTry >= l.timeout {
		l.perTry = 0
	}
	return l
}

// maxDuration is how long the whole exchange may take; 0 is for ever. The upstream of a
// gRPC request is told.
func (x *Exchange) maxDuration() time.Duration {
	most := x.longest()
	if g := x.Rule.GRPC; g != nil && !g.Replaces {
		if d := grpcTimeout(&x.Request.Header); d > 0 {
			most = g.bound(d)
		}
	}
	if most > 0 && route.IsGRPC(x.Request) {
		x.Request.Header.Set("grpc-timeout", grpcTimeoutText(most))
	}
	return most
}

// longest is how long an exchange may take that says nothing about it itself.
func (x *Exchange) longest() time.Duration {
	if x.Rule != nil && x.Rule.MaxDuration != 0 {
		return x.Rule.MaxDuration
	}
	return x.h.spec.Timeouts.Stream
}

// bound applies cap and offset; 0 is infinite.
func (g *GRPCTimeout) bound(d time.Duration) time.Duration {
	if g.Replaces && g.Offset < d {
		d -= g.Offset
	}
	if g.Max > 0 && (d == 0 || d > g.Max) {
		d = g.Max
	}
	if !g.Replaces && g.Offset < d {
		d -= g.Offset
	}
	return d
}

// grpcTimeout reads the header: up to eight digits and a unit. Anything else is no
// timeout.
func grpcTimeout(h *httpmsg.Header) time.Duration {
	v, ok := h.Get("grpc-timeout")
	if !ok || len(v) < 2 || len(v) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(v[:len(v)-1], 10, 32)
	if err != nil {
		return 0
	}
	unit := time.Duration(0)
	switch v[len(v)-1] {
	case 'H':
		n, unit = min(n, longestHours), time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		return (time.Duration(n)*time.Microsecond + time.Millisecond - 1).Truncate(time.Millisecond) //nolint:gosec // eight digits
	case 'n':
		return (time.Duration(n) + time.Millisecond - 1).Truncate(time.Millisecond) //nolint:gosec // eight digits
	}
	return time.Duration(n) * unit //nolint:gosec // eight digits
}

// longestHours is what a Duration holds: more than two hundred years.
const longestHours = 2_000_000

// grpcTimeoutText writes the header in the finest unit that has room, from
// milliseconds up, as Envoy does.
func grpcTimeoutText(d time.Duration) string {
	units := [...]struct {
		unit time.Duration
		name string
	}{{time.Millisecond, "m"}, {time.Second, "S"}, {time.Minute, "M"}, {time.Hour, "H"}}
	for _, u := range units {
		if n := int64(d / u.unit); n < 100_000_000 {
			return strconv.FormatInt(n, 10) + u.name
		}
	}
	return "99999999H"
}

// obey takes the router's control headers of an internal sender, and removes them.
func (x *Exchange) obey(l *limits) {
	h := &x.Request.Header
	if ms, ok := milli(h, "x-envoy-upstream-rq-timeout-ms"); ok {
		l.timeout = ms
	}
	if ms, ok := milli(h, "x-envoy-upstream-rq-per-try-timeout-ms"); ok {
		l.perTry = ms
	}
	l.perStream, _ = milli(h, "x-envoy-upstream-stream-duration-ms")
	x.trip.mild = h.Has("x-envoy-upstream-rq-timeout-alt-response")
	on := ParseRetryOn(h.Value("x-envoy-retry-on")) | ParseRetryOn(h.Value("x-envoy-retry-grpc-on"))
	codes := retriableCodes(h.Value("x-envoy-retriable-status-codes"))
	names := retriableNames(h.Value("x-envoy-retriable-header-names"))
	if on != 0 || len(codes) > 0 || len(names) > 0 || h.Has("x-envoy-max-retries") {
		l.retry = l.retry.with(on, codes, h.Value("x-envoy-max-retries"))
		l.retry.HeaderNames = append(names, l.retry.HeaderNames...)
	}
	h.DeleteFunc(func(f httpmsg.Field) bool {
		switch f.Name {
		case "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms",
			"x-envoy-upstream-stream-duration-ms", "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-hedge-on-per-try-timeout", "x-envoy-retry-on",
			"x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names":
			return true
		}
		return false
	})
}

// with is the policy with what a request asks for on top; rt may be nil.
func (rt *Retry) with(on RetryOn, codes []int, count string) *Retry {
	out := Retry{Max: 1}
	if rt != nil {
		out = *rt
	}
	out.On |= on
	out.StatusCodes = append(codes, out.StatusCodes...)
	if n, err := strconv.ParseUint(count, 10, 16); err == nil && out.On != 0 {
		out.Max = int(n)
	}
	return &out
}

func retriableCodes(list string) []int {
	var codes []int
	for list != "" {
		var token string
		token, list, _ = strings.Cut(list, ",")
		if n, err := strconv.ParseUint(strings.TrimSpace(token), 10, 16); err == nil {
			codes = append(codes, int(n))
		}
	}
	return codes
}

// retriableNames reads a list of header names.
func retriableNames(list string) []string {
	var names []string
	for token := range strings.SplitSeq(list, ",") {
		if token = strings.ToLower(strings.TrimSpace(token)); token != "" {
			names = append(names, token)
		}
	}
	return names
}

// milli reads a header that holds milliseconds.
func milli(h *httpmsg.Header, name string) (time.Duration, bool) {
	n, err := strconv.ParseUint(h.Value(name), 10, 40)
	return time.Duration(n) * time.Millisecond, err == nil //nolint:gosec // forty bits
}
