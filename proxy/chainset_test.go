package proxy_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy"
)

func chain(name string, c proxy.Criteria) *proxy.Chain { return &proxy.Chain{Name: name, Criteria: c} }

func facts(dst, sni, transport string, alpn ...string) *proxy.Facts {
	return &proxy.Facts{
		Destination: netip.MustParseAddrPort(dst), Source: netip.MustParseAddrPort("10.9.9.9:40000"),
		DirectSource: netip.MustParseAddr("10.9.9.9"), ServerName: sni, Transport: transport, ALPN: alpn,
	}
}

func TestChainIsChosenAsEnvoyDoes(t *testing.T) {
	t.Parallel()
	mtlsHTTP := []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	set, err := proxy.NewChainSet([]*proxy.Chain{
		chain("blackhole", proxy.Criteria{DestinationPort: 15006}),
		chain("8080 mtls", proxy.Criteria{DestinationPort: 8080, TransportProtocol: "tls", ApplicationProtocols: mtlsHTTP}),
		chain("8080 opaque tls", proxy.Criteria{DestinationPort: 8080, TransportProtocol: "tls"}),
		chain("8080 http", proxy.Criteria{DestinationPort: 8080, TransportProtocol: "raw_buffer", ApplicationProtocols: []string{"http/1.1", "h2c"}}),
		chain("80 a.com", proxy.Criteria{DestinationPort: 80, ServerNames: []string{"a.com"}}),
		chain("any b.com", proxy.Criteria{ServerNames: []string{"b.com"}}),
		chain("any *.b.com", proxy.Criteria{ServerNames: []string{"*.b.com"}}),
		chain("any *.x.b.com", proxy.Criteria{ServerNames: []string{"*.x.b.com"}}),
		chain("443 10/8", proxy.Criteria{DestinationPort: 443, DestinationPrefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}),
		chain("443 10.1/16", proxy.Criteria{DestinationPort: 443, DestinationPrefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, ServerNames: []string{"deep"}}),
	}, chain("default", proxy.Criteria{}))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		facts *proxy.Facts
		want  string
	}{
		{"port alone", facts("1.2.3.4:15006", "", "raw_buffer"), "blackhole"},
		{"any of the client's protocols", facts("1.2.3.4:8080", "", "tls", "h2", "istio-http/1.1"), "8080 mtls"},
		{"TLS of strangers", facts("1.2.3.4:8080", "", "tls", "h2"), "8080 opaque tls"},
		{"plain HTTP", facts("1.2.3.4:8080", "", "raw_buffer", "http/1.1"), "8080 http"},
		{"plain bytes find no key and fall to the default", facts("1.2.3.4:8080", "", "raw_buffer"), "default"},
		{"a port that is chosen is never left again", facts("1.2.3.4:80", "b.com", "tls"), "default"},
		{"exact name", facts("1.2.3.4:81", "b.com", "tls"), "any b.com"},
		{"wildcard name", facts("1.2.3.4:81", "www.b.com", "tls"), "any *.b.com"},
		{"longest wildcard", facts("1.2.3.4:81", "www.x.b.com", "tls"), "any *.x.b.com"},
		{"a wildcard needs a label", facts("1.2.3.4:81", "x.b.com", "tls"), "any *.b.com"},
		{"no name", facts("1.2.3.4:81", "", "tls"), "default"},
		{"shorter prefix", facts("10.2.3.4:443", "", "tls"), "443 10/8"},
		{"longest prefix", facts("10.1.3.4:443", "deep", "tls"), "443 10.1/16"},
		{"the longest prefix is never left again", facts("10.1.3.4:443", "", "tls"), "default"},
		{"mapped address", facts("[::ffff:10.2.3.4]:443", "", "tls"), "443 10/8"},
		{"no prefix", facts("192.168.0.1:443", "", "tls"), "default"},
	}
	for _, tt := range tests {
		if got := set.Match(tt.facts).Name; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestEqualChainsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := proxy.NewChainSet([]*proxy.Chain{
		chain("one", proxy.Criteria{DestinationPort: 80, ServerNames: []string{"a", "b"}}),
		chain("two", proxy.Criteria{DestinationPort: 80, ServerNames: []string{"B"}}),
	}, nil)
	if !errors.Is(err, proxy.ErrDuplicateChain) || !strings.Contains(err.Error(), "two") {
		t.Errorf("got %v", err)
	}
	if _, err := proxy.NewChainSet([]*proxy.Chain{chain("x", proxy.Criteria{ServerNames: []string{"a*.com"}})}, nil); err == nil {
		t.Error("a partial wildcard was taken")
	}
}

// naive finds the chain by the words of the documentation: on each level keep the
// chains with the most specific key that fits.
func naive(chains []*proxy.Chain, f *proxy.Facts) *proxy.Chain {
	left := slices.Clone(chains)
	keep := func(score func(*proxy.Criteria) int) {
		best := -1
		for _, c := range left {
			best = max(best, score(&c.Criteria))
		}
		left = slices.DeleteFunc(left, func(c *proxy.Chain) bool { s := score(&c.Criteria); return s < 0 || s != best })
	}
	bits := func(ps []netip.Prefix, a netip.Addr) int {
		if len(ps) == 0 {
			return 0
		}
		best := -1
		for _, p := range ps {
			if p.Contains(a.Unmap()) {
				best = max(best, p.Bits())
			}
		}
		return best
	}
	keep(func(c *proxy.Criteria) int {
		switch c.DestinationPort {
		case f.Destination.Port():
			return 1
		case 0:
			return 0
		}
		return -1
	})
	// A chain that lists several prefixes stands under each of them.
	keep(func(c *proxy.Criteria) int { return bits(c.DestinationPrefixes, f.Destination.Addr()) })
	keep(func(c *proxy.Criteria) int {
		best := -1
		if len(c.ServerNames) == 0 {
			best = 0
		}
		for _, n := range c.ServerNames {
			switch {
			case n == f.ServerName:
				best = max(best, 1<<20)
			case strings.HasPrefix(n, "*.") && len(f.ServerName) > len(n)-1 && strings.HasSuffix(f.ServerName, n[1:]):
				best = max(best, len(n))
			}
		}
		return best
	})
	keep(func(c *proxy.Criteria) int {
		switch c.TransportProtocol {
		case f.Transport:
			return 1
		case "":
			return 0
		}
		return -1
	})
	keep(func(c *proxy.Criteria) int {
		if len(c.ApplicationProtocols) == 0 {
			return 0
		}
		for i, p := range f.ALPN {
			if slices.Contains(c.ApplicationProtocols, p) {
				return 100 - i
			}
		}
		return -1
	})
	keep(func(c *proxy.Criteria) int { return bits(c.SourcePrefixes, f.Source.Addr()) })
	keep(func(c *proxy.Criteria) int {
		if len(c.SourcePorts) == 0 {
			return 0
		}
		if slices.Contains(c.SourcePorts, f.Source.Port()) {
			return 1
		}
		return -1
	})
	if len(left) == 0 {
		return nil
	}
	return left[0]
}

// world draws chains and facts from a small alphabet, so that they meet.
func world(r *rand.Rand) ([]*proxy.Chain, *proxy.Facts) {
	some := func(of []string, most int) []string {
		var got []string
		for range r.IntN(most + 1) {
			if s := of[r.IntN(len(of))]; !slices.Contains(got, s) {
				got = append(got, s)
			}
		}
		return got
	}
	prefixes := func(most int) []netip.Prefix {
		all := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "fd00::/8", "0.0.0.0/0"}
		var got []netip.Prefix
		for _, s := range some(all, most) {
			got = append(got, netip.MustParsePrefix(s))
		}
		return got
	}
	names := []string{"a.com", "*.a.com", "*.b.a.com", "x.b.a.com", "b.a.com"}
	alpn := []string{"h2", "http/1.1", "istio", "istio-http/1.1"}
	transports := []string{"", "tls", "raw_buffer"}
	chains := make([]*proxy.Chain, 1+r.IntN(8))
	for i := range chains {
		chains[i] = chain(string(rune('a'+i)), proxy.Criteria{
			DestinationPort: uint16(r.IntN(3)), DestinationPrefixes: prefixes(2), ServerNames: some(names, 2),
			TransportProtocol: transports[r.IntN(3)], ApplicationProtocols: some(alpn, 2), SourcePrefixes: prefixes(1),
		})
		if r.IntN(4) == 0 {
			chains[i].Criteria.SourcePorts = []uint16{7}
		}
	}
	addrs := []string{"10.1.1.1", "10.1.2.2", "10.2.2.2", "fd00::1", "9.9.9.9", "::ffff:10.1.1.1"}
	f := &proxy.Facts{
		Destination: netip.AddrPortFrom(netip.MustParseAddr(addrs[r.IntN(len(addrs))]), uint16(r.IntN(4))),
		Source:      netip.AddrPortFrom(netip.MustParseAddr(addrs[r.IntN(len(addrs))]), uint16(7+r.IntN(2))),
		Transport:   transports[1+r.IntN(2)], ALPN: some(alpn, 3),
	}
	if n := r.IntN(7); n > 0 {
		f.ServerName = []string{"a.com", "b.a.com", "x.b.a.com", "y.b.a.com", "c.com", "com"}[n-1]
	}
	f.DirectSource = f.Source.Addr()
	return chains, f
}

func FuzzChainMatchAgreesWithTheNaiveOne(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		chains, facts := world(rand.New(rand.NewPCG(seed, 1)))
		set, err := proxy.NewChainSet(chains, nil)
		if err != nil {
			return // duplicates
		}
		got, want := set.Match(facts), naive(chains, facts)
		if got != want {
			t.Errorf("got %v, want %v for %+v", got, want, facts)
			for _, c := range chains {
				t.Logf("%s: %+v", c.Name, c.Criteria)
			}
		}
	})
}

// idleHandler keeps a connection until it is told to go.
type idleHandler struct{ served chan *proxy.Conn }

func (h *idleHandler) ServeConn(ctx context.Context, c *proxy.Conn) {
	h.served <- c
	<-ctx.Done()
}
