package compile_test

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/outlier"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
)

// specOf is what becomes of a cluster; an error says why nothing does.
func specOf(t *testing.T, edit func(*clusterv3.Cluster)) (*upstream.Spec, error) {
	t.Helper()
	r := newRig(t)
	m := edsCluster("a")
	edit(m)
	r.must(r.send(xds.TypeRoute, nil, routes("80", host("a", "a", "a.example"))))
	r.must(r.send(xds.TypeCluster, nil, m))
	r.must(r.send(xds.TypeEndpoint, nil, assignment("a", "10.0.0.1")))
	c := mentioned(t, r, "a.example")
	if err := c.Ensure(t.Context()); err != nil {
		return nil, err
	}
	return c.Spec(), nil
}

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

func TestOutlierDetectionIsCompiled(t *testing.T) {
	t.Parallel()
	change := func(edit func(*outlier.Config)) *outlier.Config {
		c := outlier.Defaults()
		edit(&c)
		return &c
	}
	for _, tt := range []struct {
		name string
		m    *clusterv3.OutlierDetection
		want *outlier.Config
	}{
		{"none", nil, nil},
		{"defaults", &clusterv3.OutlierDetection{}, change(func(*outlier.Config) {})},
		{"as istiod sends it", &clusterv3.OutlierDetection{
			Consecutive_5Xx: u32(7), ConsecutiveGatewayFailure: u32(3), EnforcingConsecutive_5Xx: u32(100), EnforcingConsecutiveGatewayFailure: u32(100),
			EnforcingSuccessRate: u32(0), EnforcingLocalOriginSuccessRate: u32(0), MaxEjectionPercent: u32(50), SplitExternalLocalOriginErrors: true,
			ConsecutiveLocalOriginFailure: u32(4), Interval: durationpb.New(time.Second), BaseEjectionTime: durationpb.New(2 * time.Second),
		}, change(func(c *outlier.Config) {
			c.Interval, c.Base, c.MaxPercent, c.Split = time.Second, 2*time.Second, 50, true
			c.Consecutive = [3]uint32{7, 3, 4}
			c.Enforcing[outlier.ConsecutiveGateway], c.Enforcing[outlier.SuccessRate], c.Enforcing[outlier.SuccessRateLocal] = 100, 0, 0
		})},
		{"ratios", &clusterv3.OutlierDetection{
			SuccessRateMinimumHosts: u32(1), SuccessRateRequestVolume: u32(2), SuccessRateStdevFactor: u32(3), FailurePercentageMinimumHosts: u32(4),
			FailurePercentageRequestVolume: u32(5), FailurePercentageThreshold: u32(6), EnforcingFailurePercentage: u32(7),
			EnforcingFailurePercentageLocalOrigin: u32(8), EnforcingConsecutiveLocalOriginFailure: u32(9), AlwaysEjectOneHost: wrapperspb.Bool(true),
		}, change(func(c *outlier.Config) {
			c.Success, c.Failure, c.AlwaysOne = outlier.Rate{MinHosts: 1, Volume: 2, Factor: 3}, outlier.Rate{MinHosts: 4, Volume: 5, Factor: 6}, true
			c.Enforcing[outlier.FailurePercentage], c.Enforcing[outlier.FailurePercentageLocal], c.Enforcing[outlier.ConsecutiveLocal] = 7, 8, 9
		})},
		{"a base beyond the default of the longest", &clusterv3.OutlierDetection{BaseEjectionTime: durationpb.New(time.Hour)}, change(func(c *outlier.Config) { c.Base, c.Max = time.Hour, time.Hour })},
		{"times", &clusterv3.OutlierDetection{MaxEjectionTime: durationpb.New(time.Minute), MaxEjectionTimeJitter: durationpb.New(time.Second)}, change(func(c *outlier.Config) { c.Max, c.Jitter = time.Minute, time.Second })},
	} {
		spec, err := specOf(t, func(m *clusterv3.Cluster) { m.OutlierDetection = tt.m })
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		switch got := spec.Outliers; {
		case (got == nil) != (tt.want == nil), got != nil && *got != *tt.want:
			t.Errorf("%s: got %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

func TestImpossibleOutlierDetectionIsRefused(t *testing.T) {
	t.Parallel()
	for field, m := range map[string]*clusterv3.OutlierDetection{
		"outlier_detection.max_ejection_time": {MaxEjectionTime: durationpb.New(time.Second)},
	} {
		if _, err := specOf(t, func(c *clusterv3.Cluster) { c.OutlierDetection = m }); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want %s named", err, field)
		}
	}
}

func TestErrorMatcherIsCompiled(t *testing.T) {
	t.Parallel()
	status := func(code string) *matcherv3.MatchPredicate {
		return &matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_HttpResponseHeadersMatch{HttpResponseHeadersMatch: &matcherv3.HttpHeadersMatch{
			Headers: []*routev3.HeaderMatcher{{Name: ":status", HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: code}}},
		}}}
	}
	several := &matcherv3.MatchPredicate_MatchSet{Rules: []*matcherv3.MatchPredicate{status("500"), status("429")}}
	is := func(code int) *httpmsg.Response { return &httpmsg.Response{Status: code} }
	for name, tt := range map[string]struct {
		m    *matcherv3.MatchPredicate
		want map[int]bool
	}{
		"one":    {status("429"), map[int]bool{429: true, 500: false}},
		"either": {&matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_OrMatch{OrMatch: several}}, map[int]bool{429: true, 500: true, 503: false}},
		"both":   {&matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_AndMatch{AndMatch: several}}, map[int]bool{429: false, 500: false}},
		"not":    {&matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_NotMatch{NotMatch: status("200")}}, map[int]bool{200: false, 404: true}},
		"any":    {&matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_AnyMatch{AnyMatch: true}}, map[int]bool{200: true}},
	} {
		got := usedWith(t, &httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
			}},
			OutlierDetection: &httpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: tt.m},
		})
		for code, want := range tt.want {
			if got.IsError == nil || got.IsError(is(code)) != want {
				t.Errorf("%s: %d is not %v", name, code, want)
			}
		}
	}
}
