package compile

import (
	"net/netip"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
)

// Listener filters that are understood.
const (
	originalDstType   = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
	tlsInspectorType  = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
	httpInspectorType = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
)

// defaultInspectTimeout is Envoy's listener_filters_timeout where none is set.
const defaultInspectTimeout = 15 * time.Second

// listenerSpec compiles a listener. Chains whose bytes are those of a chain in
// old keep that chain's pointer, so that its connections are not disturbed.
func (c *Compiler) listenerSpec(s scope, m *listenerv3.Listener, old *proxy.ListenerSpec) *proxy.ListenerSpec {
	dir := trafficDirection(m.GetTrafficDirection())
	spec := &proxy.ListenerSpec{
		Name: m.GetName(), Direction: dir,
		Bind:           truth(m.GetBindToPort(), true),
		UseOriginalDst: truth(m.GetUseOriginalDst(), false),
		Transparent:    truth(m.GetTransparent(), false),
		DrainTime:      c.chainDrain,
		Observers:      c.observers(s, nil, m.GetAccessLog()),
	}
	addr, ok := socketAddress(s.in("address"), m.GetAddress())
	if !ok {
		return nil
	}
	spec.Address = addr
	if m.GetFilterChainMatcher() != nil {
		s.in("filter_chain_matcher").fail("is not supported")
	}
	listenerFilters(s, spec, m)
	known := chainsByDigest(old)
	var chains []*proxy.Chain
	for i, fc := range m.GetFilterChains() {
		chains = append(chains, c.chainOnce(s.at("filter_chains", i), spec, fc, known))
	}
	var fallback *proxy.Chain
	if fc := m.GetDefaultFilterChain(); fc != nil {
		fallback = c.chainOnce(s.in("default_filter_chain"), spec, fc, known)
	}
	if len(*s.errs) > 0 {
		return nil
	}
	set, err := proxy.NewChainSet(chains, fallback)
	s.check(err)
	spec.Chains = set
	return spec
}

// chainOnce reuses an equal chain of the listener's present configuration.
func (c *Compiler) chainOnce(s scope, spec *proxy.ListenerSpec, fc *listenerv3.FilterChain, known map[uint64]*proxy.Chain) *proxy.Chain {
	digest, err := c.chainDigest(spec.Direction, fc)
	if !s.check(err) {
		return nil
	}
	if old := known[digest]; old != nil {
		return old
	}
	chain := c.chain(s, spec.Direction, fc)
	chain.Digest = digest
	return chain
}

func chainsByDigest(spec *proxy.ListenerSpec) map[uint64]*proxy.Chain {
	known := make(map[uint64]*proxy.Chain)
	if spec == nil || spec.Chains == nil {
		return known
	}
	for _, chain := range spec.Chains.Chains() {
		known[chain.Digest] = chain
	}
	return known
}

func listenerFilters(s scope, spec *proxy.ListenerSpec, m *listenerv3.Listener) {
	spec.Inspect.Timeout = duration(m.GetListenerFiltersTimeout(), defaultInspectTimeout)
	spec.Inspect.ContinueOnTimeout = m.GetContinueOnListenerFiltersTimeout()
	for i, f := range m.GetListenerFilters() {
		fs := s.at("listener_filters", i)
		disabled := portPredicate(fs.in("filter_disabled"), f.GetFilterDisabled())
		switch kind := strings.TrimPrefix(f.GetTypedConfig().GetTypeUrl(), typePrefix); kind {
		case originalDstType:
			spec.Captured = true
		case tlsInspectorType:
			spec.Inspect.TLS, spec.Inspect.TLSDisabled = true, disabled
		case httpInspectorType:
			spec.Inspect.HTTP, spec.Inspect.HTTPDisabled = true, disabled
		default:
			fs.fail("listener filter %s (%s) is not supported", f.GetName(), kind)
		}
	}
	spec.Captured = spec.Captured || spec.UseOriginalDst
}

// portPredicate compiles a filter_disabled predicate; nil means never.
func portPredicate(s scope, m *listenerv3.ListenerFilterChainMatchPredicate) func(uint16) bool {
	switch p := m.GetRule().(type) {
	case nil:
		return nil
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		return func(uint16) bool { return true }
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		start, end := p.DestinationPortRange.GetStart(), p.DestinationPortRange.GetEnd()
		return func(port uint16) bool { return int32(port) >= start && int32(port) < end }
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		inner := portPredicate(s.in("not_match"), p.NotMatch)
		return func(port uint16) bool { return inner == nil || !inner(port) }
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		rules := portPredicates(s.in("or_match"), p.OrMatch.GetRules())
		return func(port uint16) bool {
			for _, r := range rules {
				if r(port) {
					return true
				}
			}
			return false
		}
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		rules := portPredicates(s.in("and_match"), p.AndMatch.GetRules())
		return func(port uint16) bool {
			for _, r := range rules {
				if !r(port) {
					return false
				}
			}
			return true
		}
	default:
		s.fail("predicate %T is not supported", p)
		return nil
	}
}

func portPredicates(s scope, list []*listenerv3.ListenerFilterChainMatchPredicate) []func(uint16) bool {
	var out []func(uint16) bool
	for i, m := range list {
		if p := portPredicate(s.at("rules", i), m); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// addresses lists every address that a listener takes connections for.
func addresses(s scope, m *listenerv3.Listener) []netip.AddrPort {
	var out []netip.AddrPort
	if a, ok := socketAddress(s.in("address"), m.GetAddress()); ok {
		out = append(out, a)
	}
	for i, extra := range m.GetAdditionalAddresses() {
		if a, ok := socketAddress(s.at("additional_addresses", i).in("address"), extra.GetAddress()); ok {
			out = append(out, a)
		}
	}
	return out
}
