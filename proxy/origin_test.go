package proxy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func TestRemoteAddressComesFromTrustedForwarders(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, xff string
		spec      RequestSpec
		want      string
	}{
		{"one", "10.1.1.1", RequestSpec{}, "10.1.1.1:0"},
		{"the last one", "10.1.1.1, 10.2.2.2", RequestSpec{}, "10.2.2.2:0"},
		{"behind a trusted hop", "10.1.1.1, 10.2.2.2", RequestSpec{XFFTrustedHops: 1}, "10.1.1.1:0"},
		{"too few hops", "10.1.1.1", RequestSpec{XFFTrustedHops: 1}, ""},
		{"IPv6", "2001:db8::1", RequestSpec{}, "[2001:db8::1]:0"},
		{"with a port", "10.1.1.1:99", RequestSpec{}, ""},
		{"junk", "junk", RequestSpec{}, ""},
		{"with a zone", "fe80::1%lo", RequestSpec{}, ""},
		{"empty at the end", "10.1.1.1,", RequestSpec{}, ""},
		{"the edge trusts nobody", "10.1.1.1", RequestSpec{UseRemoteAddress: true}, ""},
		{"the edge trusts one hop", "10.1.1.1, 10.2.2.2", RequestSpec{UseRemoteAddress: true, XFFTrustedHops: 1}, "10.2.2.2:0"},
	}
	for _, tt := range tests {
		var h httpmsg.Header
		h.Add("x-forwarded-for", tt.xff)
		got := ""
		if ap := tt.spec.remote(&h); ap.IsValid() {
			got = ap.String()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestReferersAreValidatedAsInEnvoy(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]bool{
		"http://a.example": true, "http://a.example/x?y": true, "https://a.example:80/x": true, "/x/y": true, "x": true,
		"ftp://a.example/x": true, "android-app://x": true, "": true, "a.example/x": true, "//x": true, "?x": true, "/a:b": true,
		"http://a.example/%zz": true, "http://[::1]/x": true, "a/b": true, "http://a.example/,http://b.example/": true,
		"not a url": false, "http://a.example/?x#y": false, "/x?y#z": false, "about:blank": false, "http://u@a/": false,
		"http://a.example/a b": false, "http://a.example/\u00e9": false, "http:///x": false, "http://": false, "/\"x": false,
	} {
		if got := validReferer(v); got != want {
			t.Errorf("%q: got %v", v, got)
		}
	}
}

// stamped runs what comes before filters and routes.
func stamped(t *testing.T, spec RequestSpec, fields ...string) *Exchange {
	t.Helper()
	h := NewHTTP(HTTPSpec{Request: spec})
	remote := netip.MustParseAddrPort("10.9.9.9:1234")
	x := &Exchange{Request: &httpmsg.Request{}, Conn: &flow.Conn{Remote: remote}, h: h, session: &session{h: h}}
	for i := 0; i < len(fields); i += 2 {
		x.Request.Header.Add(fields[i], fields[i+1])
	}
	h.stamp(x)
	return x
}

func TestWellKnownHeadersAreHeldOnce(t *testing.T) {
	t.Parallel()
	x := stamped(t, RequestSpec{}, "accept", "a", "x-own", "1", "accept", "b", "cookie", "c=1", "x-own", "2", "cookie", "d=2", "accept", "")
	want := []httpmsg.Field{
		{Name: "accept", Value: "a,b"},
		{Name: "x-own", Value: "1"},
		{Name: "cookie", Value: "c=1"},
		{Name: "x-own", Value: "2"},
		{Name: "cookie", Value: "d=2"},
		{Name: "x-forwarded-proto", Value: "http"},
	}
	got := x.Request.Header.Fields
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("field %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

func TestOnlyInternalSendersControlTheRouter(t *testing.T) {
	t.Parallel()
	ranges := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	fields := []string{
		"x-envoy-upstream-rq-timeout-ms", "700", "x-envoy-upstream-rq-per-try-timeout-ms", "50", "x-envoy-max-retries", "4",
		"x-envoy-retry-on", "5xx,retriable-headers", "x-envoy-retriable-status-codes", "418, x",
		"x-envoy-retriable-header-names", "X-Again, , x-more",
	}
	for _, tt := range []struct {
		name string
		spec RequestSpec
		xff  string
		want bool
	}{
		{"nobody is internal by default", RequestSpec{}, "10.1.1.1", false},
		{"one forwarded address", RequestSpec{InternalRanges: ranges}, "10.1.1.1", true},
		{"two of them", RequestSpec{InternalRanges: ranges}, "10.1.1.1,10.1.1.2", false},
		{"the peer of an edge", RequestSpec{InternalRanges: ranges, UseRemoteAddress: true}, "", true},
		{"forwarded to an edge", RequestSpec{InternalRanges: ranges, UseRemoteAddress: true}, "10.1.1.1", false},
		{"another address", RequestSpec{InternalRanges: ranges}, "192.0.2.1", false},
	} {
		in := fields
		if tt.xff != "" {
			in = append([]string{"x-forwarded-for", tt.xff}, fields...)
		}
		x := stamped(t, tt.spec, in...)
		x.Rule = &Rule{Timeout: time.Second, Retry: &Retry{On: RetryOnReset, Max: 2}}
		l := x.decide()
		got := l.timeout == 700*time.Millisecond && l.perTry == 50*time.Millisecond && l.retry.Max == 4 &&
			l.retry.On == RetryOnReset|RetryOn5xx|RetryOnHeaders && len(l.retry.StatusCodes) == 1 &&
			slices.Equal(l.retry.HeaderNames, []string{"x-again", "x-more"})
		untouched := l.timeout == time.Second && l.retry == x.Rule.Retry
		if got != tt.want || untouched == tt.want {
			t.Errorf("%s: got %+v", tt.name, l)
		}
		for i := 0; i < len(fields); i += 2 {
			if x.Request.Header.Has(fields[i]) {
				t.Errorf("%s: %s was kept", tt.name, fields[i])
			}
		}
		if x.Request.Header.Has("x-envoy-internal") != tt.want {
			t.Errorf("%s: got %v", tt.name, x.Request.Header)
		}
	}
}

func TestGRPCTimeouts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"1S": time.Second, "99999999H": longestHours * time.Hour, "5M": 5 * time.Minute, "20m": 20 * time.Millisecond, "1u": time.Millisecond,
		"1000001n": 2 * time.Millisecond, "": 0, "S": 0, "123456789m": 0, "-1S": 0, "1x": 0, "soon": 0, "00000000S": 0,
	} {
		var h httpmsg.Header
		h.Add("grpc-timeout", in)
		if got := grpcTimeout(&h); got != want {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
	for want, in := range map[string]time.Duration{"1000m": time.Second, "100000S": 100_000 * time.Second, "99999999m": 99_999_999 * time.Millisecond} {
		if got := grpcTimeoutText(in); got != want {
			t.Errorf("%v: got %q, want %q", in, got, want)
		}
	}
	for _, tt := range []struct {
		name string
		g    GRPCTimeout
		in   time.Duration
		want time.Duration
	}{
		{"no cap", GRPCTimeout{Replaces: true}, 5, 5},
		{"cap", GRPCTimeout{Replaces: true, Max: 3}, 5, 3},
		{"cap of infinity", GRPCTimeout{Replaces: true, Max: 3}, 0, 3},
		{"offset", GRPCTimeout{Replaces: true, Offset: 2}, 5, 3},
		{"offset that leaves nothing", GRPCTimeout{Replaces: true, Offset: 5}, 5, 5},
		{"cap before offset", GRPCTimeout{Max: 4, Offset: 1}, 9, 3},
	} {
		if got := tt.g.bound(tt.in); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}
