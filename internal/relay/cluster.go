package relay

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// What istio.alpn would offer, by the protocol that is spoken upstream.
var (
	alpnHTTP1 = []string{"istio-http/1.1", "istio", "http/1.1"}
	alpnHTTP2 = []string{"istio-h2", "istio", "h2"}
)

const (
	upstreamTLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// cluster edits a cluster and reports whether it changed.
func (e *editor) cluster(c *clusterv3.Cluster) (bool, error) {
	n := len(c.GetFilters())
	c.Filters = slices.DeleteFunc(c.Filters, func(f *clusterv3.Filter) bool {
		gone := kind(f.GetTypedConfig()) == tcpExchangeType
		if gone {
			e.note("CDS filters", "without "+f.GetName())
		}
		return gone
	})
	changed := len(c.Filters) != n
	alpn, err := e.clusterALPN(c)
	if err != nil {
		return false, err
	}
	sockets := []*corev3.TransportSocket{c.GetTransportSocket()}
	for _, m := range c.GetTransportSocketMatches() {
		sockets = append(sockets, m.GetTransportSocket())
	}
	for _, s := range sockets {
		edited, err := e.upstreamSocket(s, alpn)
		if err != nil {
			return false, at(err, "transport socket")
		}
		changed = changed || edited
	}
	return changed, nil
}

// clusterALPN returns the protocols that istio.alpn would offer to the cluster
// whatever is spoken downstream, nil where that decides or nothing is to be done.
func (e *editor) clusterALPN(c *clusterv3.Cluster) ([]string, error) {
	istio := c.GetMetadata().GetFilterMetadata()["istio"]
	if !e.emulateALPN || istio.GetFields()["alpn_override"].GetStringValue() == "false" {
		return nil, nil
	}
	packed := c.GetTypedExtensionProtocolOptions()[httpOptions]
	if packed == nil {
		return alpnHTTP1, nil
	}
	var options httpv3.HttpProtocolOptions
	if err := packed.UnmarshalTo(&options); err != nil {
		return nil, err
	}
	switch {
	case options.GetUseDownstreamProtocolConfig() != nil:
		return nil, nil
	case options.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil:
		return alpnHTTP2, nil
	}
	return alpnHTTP1, nil
}

// upstreamSocket edits a TLS context; alpn takes the place of Istio's own lists.
func (e *editor) upstreamSocket(s *corev3.TransportSocket, alpn []string) (bool, error) {
	if s == nil || kind(s.GetTypedConfig()) != upstreamTLS {
		return false, nil
	}
	var tls tlsv3.UpstreamTlsContext
	changed := false
	err := change(s.GetTypedConfig(), &tls, func() (bool, error) {
		common := tls.GetCommonTlsContext()
		if common == nil {
			return false, nil
		}
		common.AlpnProtocols, changed = e.withoutExchange("CDS TLS", common.AlpnProtocols)
		if alpn != nil && slices.Contains(common.AlpnProtocols, "istio") {
			e.note("CDS TLS", "alpn_protocols "+alpn[0]+", … in the place of istio.alpn")
			common.AlpnProtocols, changed = alpn, true
		}
		return changed, nil
	})
	return changed, err
}
