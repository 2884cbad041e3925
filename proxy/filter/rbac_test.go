package filter_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/outrigger-mesh/outrigger/authz"
	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/filter"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

var rbacName = unique.Make("envoy.filters.http.rbac")

// answers is a Routes with one rule.
type answers struct{ rule *proxy.Rule }

func (a answers) Match(*httpmsg.Request, uint64) (*proxy.Rule, bool) { return a.rule, a.rule != nil }

// seen takes records, one at a time.
type seen chan flow.Record

func (s seen) Observe(r *flow.Record) {
	s <- flow.Record{Details: strings.Clone(r.Details), Termination: r.Termination, Policy: r.Policy, Flags: r.Flags}
}

// serve runs a chain on loopback.
func serve(t *testing.T, chain *proxy.Chain) string {
	t.Helper()
	set, err := proxy.NewChainSet(nil, chain)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("127.0.0.1:0")
	ls := proxy.NewListeners(proxy.Options{})
	l := proxy.NewListener("l", nil)
	l.Publish(&proxy.ListenerSpec{Name: "l", Address: at, Bind: true, Chains: set})
	if err := ls.Update([]proxy.Entry{{Address: at, Bind: true, Listener: l}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ls.Close)
	return ls.Addr(at).String()
}

func policies(t *testing.T, action authz.Action, name string, what, who authz.Clause) *authz.Set {
	t.Helper()
	s, err := authz.NewSet(action, []authz.Policy{{Name: name, Permissions: []authz.Clause{what}, Principals: []authz.Clause{who}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func path(t *testing.T, p string) authz.Clause {
	t.Helper()
	m, err := match.NewString(match.Prefix, p, false)
	if err != nil {
		t.Fatal(err)
	}
	return authz.Path(m)
}

// ask sends one request and returns the answer and its record.
func ask(t *testing.T, addr string, records seen, head string) (*http.Response, string, flow.Record) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, head+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body), <-records
}

func TestRequestsAreDeniedAsEnvoyDoes(t *testing.T) {
	t.Parallel()
	var deny, allow filter.Counts
	trusted := authz.RemoteIP(netip.MustParsePrefix("192.0.2.0/24"))
	records := make(seen, 1)
	h := proxy.NewHTTP(proxy.HTTPSpec{
		Observers: []flow.Observer{records},
		Filters: []proxy.Installed{
			{Filter: filter.NewRBAC(rbacName, filter.Policies{
				Rules:  policies(t, authz.Deny, "ns[shop]-policy[no admin]-rule[0]", path(t, "/admin"), authz.Any()),
				Shadow: policies(t, authz.Allow, "dry", path(t, "/ok"), authz.Any()), Counts: &deny,
			})},
			{Filter: filter.NewRBAC(rbacName, filter.Policies{Rules: policies(t, authz.Allow, "allow", path(t, "/"), trusted), Counts: &allow})},
		},
	})
	h.SetRoutes(answers{&proxy.Rule{Direct: &proxy.Direct{Status: 200, Body: "in"}}})
	addr := serve(t, &proxy.Chain{Handler: h})

	const from = "\r\nhost: a\r\nx-forwarded-for: 10.0.0.1, 192.0.2.9"
	resp, body, rec := ask(t, addr, records, "GET /ok HTTP/1.1"+from)
	if resp.StatusCode != 200 || body != "in" || rec.Policy != "allow" {
		t.Errorf("allowed: got %d %q, %+v", resp.StatusCode, body, rec)
	}
	resp, body, rec = ask(t, addr, records, "GET /admin/x HTTP/1.1"+from)
	const details = "rbac_access_denied_matched_policy[ns[shop]-policy[no_admin]-rule[0]]"
	if resp.StatusCode != 403 || body != "RBAC: access denied" || rec.Details != details || rec.Flags != 0 || rec.Policy != "ns[shop]-policy[no admin]-rule[0]" {
		t.Errorf("denied: got %d %q, %+v", resp.StatusCode, body, rec)
	}
	if got := resp.Header.Get("content-type"); got != "text/plain" {
		t.Errorf("content type %q", got)
	}
	resp, body, rec = ask(t, addr, records, "GET /other HTTP/1.1\r\nhost: a")
	if resp.StatusCode != 403 || body != "RBAC: access denied" || rec.Details != "rbac_access_denied_matched_policy[none]" {
		t.Errorf("not allowed: got %d %q, %+v", resp.StatusCode, body, rec)
	}
	resp, _, rec = ask(t, addr, records, "POST /other HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0")
	if resp.StatusCode != 200 || resp.Header.Get("grpc-status") != "7" || resp.Header.Get("grpc-message") != "RBAC: access denied" {
		t.Errorf("gRPC: got %d %v, %+v", resp.StatusCode, resp.Header, rec)
	}
	for name, c := range map[string]struct{ got, want uint64 }{
		"denied by the first":    {deny.Denied.Load(), 1},
		"allowed by the first":   {deny.Allowed.Load(), 3},
		"would be allowed":       {deny.ShadowAllowed.Load(), 1},
		"would be denied":        {deny.ShadowDenied.Load(), 3},
		"allowed by the second":  {allow.Allowed.Load(), 1},
		"denied by the second":   {allow.Denied.Load(), 2},
		"no shadow, no decision": {allow.ShadowAllowed.Load() + allow.ShadowDenied.Load(), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: counted %d, want %d", name, c.got, c.want)
		}
	}
}

func TestDenialComesBeforeNotFound(t *testing.T) {
	t.Parallel()
	records := make(seen, 1)
	none, err := authz.NewSet(authz.Allow, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := proxy.NewHTTP(proxy.HTTPSpec{
		Observers: []flow.Observer{records}, Filters: []proxy.Installed{{Filter: filter.NewRBAC(rbacName, filter.Policies{Rules: none, Counts: new(filter.Counts)})}},
	})
	h.SetRoutes(answers{})
	if resp, _, _ := ask(t, serve(t, &proxy.Chain{Handler: h}), records, "GET / HTTP/1.1\r\nhost: a"); resp.StatusCode != 403 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestConnectionsAreDeniedBeforeTheUpstreamIsDialled(t *testing.T) {
	t.Parallel()
	for action, want := range map[authz.Action]string{
		authz.Deny:  "rbac_access_denied_matched_policy[all]",
		authz.Allow: "", // what was allowed finds no cluster
	} {
		records := make(seen, 1)
		var n filter.Counts
		chain := &proxy.Chain{
			Handler: proxy.NewTCP(proxy.TCPSpec{Observers: []flow.Observer{records}}),
			Filters: []proxy.ConnFilter{filter.NewConnRBAC(filter.Policies{
				Rules: policies(t, action, "all", authz.Any(), authz.RemoteIP(netip.MustParsePrefix("127.0.0.0/8"))), Counts: &n,
			})},
		}
		c, err := net.Dial("tcp", serve(t, chain))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		_ = c.Close()
		rec := <-records
		if rec.Termination != want || want != "" && rec.Policy != "all" {
			t.Errorf("record %+v", rec)
		}
		if denied := n.Denied.Load(); (denied == 1) != (want != "") || n.Allowed.Load()+denied != 1 {
			t.Errorf("counted %d denied, %d allowed", denied, n.Allowed.Load())
		}
	}
}

func TestRefusalIsAnErrorThatTellsItsPolicy(t *testing.T) {
	t.Parallel()
	f := filter.NewConnRBAC(filter.Policies{Rules: policies(t, authz.Deny, "p", authz.Any(), authz.Any()), Counts: new(filter.Counts)})
	var r *proxy.Refusal
	if err := f.Accept(new(flow.Conn)); !errors.As(err, &r) || r.Policy != "p" {
		t.Errorf("got %v", err)
	}
}
