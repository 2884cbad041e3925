package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
)

// shut is a policy on requests that refuses all.
type shut struct{}

func (shut) Request(*proxy.Exchange) *proxy.Reply { return proxy.Denied("shut") }

// denyFrom is a policy on connections that refuses one downstream.
type denyFrom struct{ addr netip.AddrPort }

func (d denyFrom) Accept(c *flow.Conn) error {
	if c.Remote == d.addr {
		return &proxy.Refusal{Policy: "p", Details: proxy.DeniedDetails("p")}
	}
	return nil
}

func TestPolicyOfRequestsChangesUnderAKeptConnection(t *testing.T) {
	t.Parallel()
	h := proxy.NewHTTP(proxy.HTTPSpec{})
	h.SetRoutes(rules{&proxy.Rule{Direct: &proxy.Direct{Status: 200, Body: "in"}}})
	chain := &proxy.Chain{Name: "c", Handler: h}
	spec := &proxy.ListenerSpec{Name: "l", Address: loopback, Bind: true, Chains: chains(t, chain)}
	g := newRigSpec(t, spec, newRecords())
	conn := g.dial()
	r := bufio.NewReader(conn)
	ask := func() int {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
		resp := readResponse(t, r, "GET")
		if resp.Close {
			t.Error("the connection is to end")
		}
		return resp.StatusCode
	}
	for _, want := range []int{200, 403, 200, 403} {
		next := *spec
		p := &proxy.Policy{}
		if want == 403 {
			p.Requests = []proxy.Filter{shut{}}
		}
		next.Policies = map[*proxy.Chain]*proxy.Policy{chain: p}
		g.listener.Publish(&next)
		if got := ask(); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

func TestConnectionsThatAPolicyNoLongerAdmitsAreCut(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	chain := &proxy.Chain{Name: "c", Handler: proxy.NewTCP(proxy.TCPSpec{Clusters: []proxy.WeightedCluster{{Cluster: cluster(t, nil, addr), Weight: 1}}})}
	spec := &proxy.ListenerSpec{Name: "l", Address: loopback, Bind: true, Chains: chains(t, chain)}
	g := newRigSpec(t, spec, newRecords())
	kept, cut := g.dial(), g.dial()
	echoes := func(c net.Conn) bool {
		b := make([]byte, 4)
		_, _ = io.WriteString(c, "echo")
		_, err := io.ReadFull(c, b)
		return err == nil && string(b) == "echo"
	}
	if !echoes(kept) || !echoes(cut) {
		t.Fatal("no relay")
	}
	next := *spec
	next.Policies = map[*proxy.Chain]*proxy.Policy{chain: {Conns: []proxy.ConnFilter{denyFrom{netip.MustParseAddrPort(cut.LocalAddr().String())}}}}
	g.listener.Publish(&next)
	if b, _ := io.ReadAll(cut); len(b) != 0 {
		t.Errorf("got %q", b)
	}
	if !echoes(kept) {
		t.Error("a connection that the policy admits was cut")
	}
}
