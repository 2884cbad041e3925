package compile

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
)

const tcpProxyType = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"

// chain compiles one filter chain.
func (c *Compiler) chain(s scope, dir flow.Direction, m *listenerv3.FilterChain) *proxy.Chain {
	out := &proxy.Chain{
		Name:             m.GetName(),
		Criteria:         criteria(s.in("filter_chain_match"), m.GetFilterChainMatch()),
		TLS:              c.downstreamTLS(s.in("transport_socket"), m.GetTransportSocket()),
		HandshakeTimeout: duration(m.GetTransportSocketConnectTimeout(), 0),
	}
	s.only(m, "name", "filter_chain_match", "filters", "transport_socket", "transport_socket_connect_timeout", "metadata")
	filters := m.GetFilters()
	for i, f := range filters {
		fs := s.at("filters", i)
		last := i == len(filters)-1
		kind := anyType(f.GetTypedConfig())
		switch {
		case f.GetConfigDiscovery() != nil:
			fs.in("config_discovery").fail("filter %s is not supported", f.GetName())
		case passiveNetwork(kind) && !last:
		case kind == networkRBACType && !last:
			out.Filters = append(out.Filters, c.networkRBAC(fs.in("typed_config"), f.GetTypedConfig()))
		case kind == tcpProxyType && last:
			out.Handler = c.tcp(fs.in("typed_config"), f)
		case kind == hcmType && last:
			out.Handler = c.manager(fs.in("typed_config"), dir, f)
		default:
			fs.fail("filter %s (%s) is not supported here", f.GetName(), kind)
		}
	}
	if out.Handler == nil && len(*s.errs) == 0 {
		s.fail("the chain has no filter that serves a connection")
	}
	return out
}

func (c *Compiler) manager(s scope, dir flow.Direction, f *listenerv3.Filter) proxy.ConnHandler {
	var m hcmv3.HttpConnectionManager
	if !s.check(unpack(f.GetTypedConfig(), &m)) {
		return nil
	}
	return c.http(s, dir, &m)
}

func (c *Compiler) tcp(s scope, f *listenerv3.Filter) proxy.ConnHandler {
	var m tcpv3.TcpProxy
	if !s.check(unpack(f.GetTypedConfig(), &m)) {
		return nil
	}
	spec := proxy.TCPSpec{
		StatPrefix:         strings.TrimSuffix(m.GetStatPrefix(), ";"),
		IdleTimeout:        duration(m.GetIdleTimeout(), proxy.DefaultTCPIdleTimeout),
		MaxDuration:        duration(m.GetMaxDownstreamConnectionDuration(), 0),
		MaxConnectAttempts: int(number(m.GetMaxConnectAttempts(), 1)),
	}
	var flows flow.Observer
	if c.tcpFlows != nil {
		flows = c.tcpFlows(spec.StatPrefix)
	}
	spec.Observers = c.observers(s, flows, m.GetAccessLog())
	switch t := m.GetClusterSpecifier().(type) {
	case *tcpv3.TcpProxy_Cluster:
		spec.Clusters = []proxy.WeightedCluster{{Cluster: c.cluster(t.Cluster), Weight: 1}}
	case *tcpv3.TcpProxy_WeightedClusters:
		for _, w := range t.WeightedClusters.GetClusters() {
			spec.Clusters = append(spec.Clusters, proxy.WeightedCluster{Cluster: c.cluster(w.GetName()), Weight: w.GetWeight()})
		}
		if proxy.WeightTotal(spec.Clusters) == 0 {
			s.in("weighted_clusters").fail("the weights add up to zero")
		}
	default:
		s.fail("cluster specifier %T is not supported", t)
	}
	spec.HashSourceIP = c.hashesSource(m.GetHashPolicy())
	spec.Tunnel = tcpTunnel(s.in("tunneling_config"), m.GetTunnelingConfig())
	return proxy.NewTCP(spec)
}

func criteria(s scope, m *listenerv3.FilterChainMatch) proxy.Criteria {
	out := proxy.Criteria{
		TransportProtocol: m.GetTransportProtocol(), ApplicationProtocols: m.GetApplicationProtocols(),
		DestinationPrefixes:  prefixes(s, "prefix_ranges", m.GetPrefixRanges()),
		DirectSourcePrefixes: prefixes(s, "direct_source_prefix_ranges", m.GetDirectSourcePrefixRanges()),
		SourcePrefixes:       prefixes(s, "source_prefix_ranges", m.GetSourcePrefixRanges()),
	}
	if p := number(m.GetDestinationPort(), 0); p > 65535 {
		s.in("destination_port").fail("%d is not a port", p)
	} else {
		out.DestinationPort = uint16(p)
	}
	for _, name := range m.GetServerNames() {
		out.ServerNames = append(out.ServerNames, strings.ToLower(name))
	}
	for _, p := range m.GetSourcePorts() {
		if p == 0 || p > 65535 {
			s.in("source_ports").fail("%d is not a port", p)
			continue
		}
		out.SourcePorts = append(out.SourcePorts, uint16(p))
	}
	switch m.GetSourceType() {
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SourceType = proxy.SourceLocal
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SourceType = proxy.SourceExternal
	case listenerv3.FilterChainMatch_ANY:
	}
	if m.GetAddressSuffix() != "" || m.GetSuffixLen() != nil {
		s.fail("address_suffix is not supported")
	}
	return out
}

func prefixes(s scope, field string, ranges []*corev3.CidrRange) []netip.Prefix {
	var out []netip.Prefix
	for i, r := range ranges {
		addr, err := netip.ParseAddr(r.GetAddressPrefix())
		if err != nil {
			s.at(field, i).fail("%q is not an address", r.GetAddressPrefix())
			continue
		}
		p, err := addr.Prefix(int(number(r.GetPrefixLen(), 0)))
		if s.at(field, i).check(err) {
			out = append(out, p)
		}
	}
	return out
}
