package filter_test

import (
	"net/http"
	"testing"
	"time"
	"unique"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
)

// filtered serves one rule behind one filter.
func filtered(t *testing.T, rule *proxy.Rule, in proxy.Installed, records seen) string {
	t.Helper()
	h := proxy.NewHTTP(proxy.HTTPSpec{Observers: []flow.Observer{records}, Filters: []proxy.Installed{in}})
	h.SetRoutes(answers{rule})
	return serve(t, &proxy.Chain{Handler: h})
}

func direct(overrides ...proxy.Override) *proxy.Rule {
	return &proxy.Rule{Direct: &proxy.Direct{Status: 200, Body: "in"}, Overrides: overrides}
}

func TestFaultsAreInjectedAsTheRuleSays(t *testing.T) {
	t.Parallel()
	name := unique.Make("fault")
	none := uint32(0)
	abort := &filter.Abort{Share: filter.Everything, Status: 418}
	for _, c := range []struct {
		name       string
		chain      filter.FaultSpec
		own        *filter.FaultSpec
		lines      string
		status     int
		flags      string
		took       time.Duration
		overflowed uint64
	}{
		{name: "nothing", status: 200, flags: "-"},
		{name: "the chain aborts", chain: filter.FaultSpec{Abort: abort}, status: 418, flags: "FI"},
		{name: "the rule replaces the chain's", chain: filter.FaultSpec{Abort: abort}, own: &filter.FaultSpec{}, status: 200, flags: "-"},
		{name: "a delay", own: &filter.FaultSpec{Delay: &filter.Delay{Share: filter.Everything, For: 50 * time.Millisecond}}, status: 200, flags: "DI", took: 50 * time.Millisecond},
		{name: "a delay, then an abort", own: &filter.FaultSpec{Delay: &filter.Delay{Share: filter.Everything, For: 50 * time.Millisecond}, Abort: abort}, status: 418, flags: "DI,FI", took: 50 * time.Millisecond},
		{name: "a share of none", own: &filter.FaultSpec{Abort: &filter.Abort{Share: filter.Share{Denominator: 100}, Status: 418}}, status: 200, flags: "-"},
		{name: "as many as there may be", own: &filter.FaultSpec{Abort: abort, MaxActive: &none}, status: 200, flags: "-", overflowed: 1},
		{name: "asked for", own: &filter.FaultSpec{Abort: &filter.Abort{Share: filter.Everything, Asked: true}}, lines: "\r\nx-envoy-fault-abort-request: 451", status: 451, flags: "FI"},
		{name: "asked for too little", own: &filter.FaultSpec{Abort: &filter.Abort{Share: filter.Everything, Asked: true}}, lines: "\r\nx-envoy-fault-abort-request: 451\r\nx-envoy-fault-abort-request-percentage: 0", status: 200, flags: "-"},
		{name: "another node", own: &filter.FaultSpec{Abort: abort, Nodes: []string{"n"}}, lines: "\r\nx-envoy-downstream-service-node: m", status: 200, flags: "-"},
		{name: "another cluster", own: &filter.FaultSpec{Abort: abort, Cluster: "c"}, status: 200, flags: "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var counts filter.FaultCounts
			records := make(seen, 1)
			rule := direct()
			if c.own != nil {
				rule = direct(proxy.Override{Name: name, Config: c.own})
			}
			addr := filtered(t, rule, proxy.Installed{Name: name, Filter: filter.NewFault(name, c.chain, &counts)}, records)
			began := time.Now()
			resp, _, rec := ask(t, addr, records, "GET / HTTP/1.1\r\nhost: a"+c.lines)
			if resp.StatusCode != c.status || rec.Flags.String() != c.flags {
				t.Errorf("got %d with %s, want %d with %s", resp.StatusCode, rec.Flags, c.status, c.flags)
			}
			if took := time.Since(began); took < c.took {
				t.Errorf("took %v, want at least %v", took, c.took)
			}
			if n := counts.Overflow.Load(); n != c.overflowed {
				t.Errorf("%d overflowed, want %d", n, c.overflowed)
			}
			deadline := time.Now().Add(5 * time.Second)
			for counts.Active.Load() != 0 && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			if n := counts.Active.Load(); n != 0 {
				t.Errorf("%d are still active", n)
			}
		})
	}
}

func TestRulesSwitchFilters(t *testing.T) {
	t.Parallel()
	name := unique.Make("fault")
	spec := filter.FaultSpec{Abort: &filter.Abort{Share: filter.Everything, Status: 418}}
	for _, c := range []struct {
		name      string
		disabled  bool
		overrides []proxy.Override
		want      int
	}{
		{"on by the chain", false, nil, 418},
		{"off by the chain", true, nil, 200},
		{"off by the rule", false, []proxy.Override{{Name: name, Disabled: true}}, 200},
		{"on by the rule", true, []proxy.Override{{Name: name}}, 418},
		{"the rule speaks of another", true, []proxy.Override{{Name: unique.Make("other")}}, 200},
	} {
		records := make(seen, 1)
		in := proxy.Installed{Name: name, Disabled: c.disabled, Filter: filter.NewFault(name, spec, new(filter.FaultCounts))}
		resp, _, _ := ask(t, filtered(t, direct(c.overrides...), in, records), records, "GET / HTTP/1.1\r\nhost: a")
		if resp.StatusCode != c.want {
			t.Errorf("%s: got %d, want %d", c.name, resp.StatusCode, c.want)
		}
	}
}

func TestCORSWithoutAPolicyDoesNothing(t *testing.T) {
	t.Parallel()
	name := unique.Make("cors")
	var counts filter.CORSCounts
	records := make(seen, 1)
	rule := &proxy.Rule{Clusters: []proxy.WeightedCluster{{Weight: 1}}}
	addr := filtered(t, rule, proxy.Installed{Name: name, Filter: filter.NewCORS(name, &counts)}, records)
	resp, _, _ := ask(t, addr, records, "OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: https://a\r\naccess-control-request-method: GET")
	if resp.StatusCode != http.StatusServiceUnavailable || counts.Valid.Load()+counts.Invalid.Load() != 0 {
		t.Errorf("got %d, counted %d", resp.StatusCode, counts.Valid.Load())
	}
	policy := &filter.CORSPolicy{Origins: nil, Forward: false, Enabled: filter.Everything, Methods: "GET"}
	rule = &proxy.Rule{Clusters: rule.Clusters, Overrides: []proxy.Override{{Name: name, Config: policy}}}
	addr = filtered(t, rule, proxy.Installed{Name: name, Filter: filter.NewCORS(name, &counts)}, records)
	resp, _, rec := ask(t, addr, records, "OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: https://a\r\naccess-control-request-method: GET")
	if resp.StatusCode != 200 || resp.Header.Get("access-control-allow-methods") != "GET" || rec.Details != "cors_response" || counts.Invalid.Load() != 1 {
		t.Errorf("got %d %v, %s, counted %d", resp.StatusCode, resp.Header, rec.Details, counts.Invalid.Load())
	}
}
