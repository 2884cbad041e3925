package relay

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	httpstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	netstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/cel/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	downstreamTLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
	managerType   = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	tcpRBACType   = "envoy.extensions.filters.network.rbac.v3.RBAC"
	httpRBACType  = "envoy.extensions.filters.http.rbac.v3.RBAC"
	tcpProxyType  = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"

	// protocolsKey is the filter state that overrules a cluster's ALPN.
	protocolsKey = "envoy.network.application_protocols"
)

// listener edits a listener and reports whether it changed.
func (e *editor) listener(l *listenerv3.Listener) (bool, error) {
	changed := false
	chains := l.GetFilterChains()
	if l.GetDefaultFilterChain() != nil {
		chains = append(slices.Clip(chains), l.GetDefaultFilterChain())
	}
	for i, c := range chains {
		edited, err := e.chain(c, l.GetTrafficDirection())
		if err != nil {
			return false, at(err, "filter chain %d %q", i, c.GetName())
		}
		changed = changed || edited
	}
	return changed, nil
}

func (e *editor) chain(c *listenerv3.FilterChain, d corev3.TrafficDirection) (bool, error) {
	n := len(c.GetFilters())
	c.Filters = slices.DeleteFunc(c.Filters, func(f *listenerv3.Filter) bool {
		gone := slices.Contains([]string{tcpExchangeType, statsType}, kind(f.GetTypedConfig()))
		if gone {
			e.note("LDS network filters", "without "+f.GetName())
		}
		return gone
	})
	changed := len(c.Filters) != n
	for _, f := range c.Filters {
		if err := settle(f.GetTypedConfig()); err != nil {
			return false, at(err, "filter %q", f.GetName())
		}
		if kind(f.GetTypedConfig()) != managerType {
			continue
		}
		edited, err := e.manager(f, d)
		if err != nil {
			return false, at(err, "filter %q", f.GetName())
		}
		changed = changed || edited
	}
	if e.emulateALPN && d == corev3.TrafficDirection_OUTBOUND {
		edited, err := e.plainProtocols(c)
		if err != nil {
			return false, err
		}
		changed = changed || edited
	}
	edited, err := e.downstreamSocket(c.GetTransportSocket())
	return changed || edited, err
}

// settle encodes the policies of an RBAC filter in one form: they are a map, which
// istiod writes in another order each time, and two sidecars are to get the same bytes.
func settle(a *anypb.Any) error {
	always := func() (bool, error) { return true, nil }
	switch kind(a) {
	case tcpRBACType:
		return change(a, new(netrbacv3.RBAC), always)
	case httpRBACType:
		return change(a, new(httprbacv3.RBAC), always)
	default:
		return nil
	}
}

func (e *editor) downstreamSocket(s *corev3.TransportSocket) (bool, error) {
	if s == nil || kind(s.GetTypedConfig()) != downstreamTLS {
		return false, nil
	}
	var tls tlsv3.DownstreamTlsContext
	changed := false
	err := change(s.GetTypedConfig(), &tls, func() (bool, error) {
		if common := tls.GetCommonTlsContext(); common != nil {
			common.AlpnProtocols, changed = e.withoutExchange("LDS TLS", common.AlpnProtocols)
		}
		return changed, nil
	})
	return changed, err
}

// manager edits an HTTP connection manager.
func (e *editor) manager(f *listenerv3.Filter, d corev3.TrafficDirection) (bool, error) {
	var m hcmv3.HttpConnectionManager
	changed := false
	err := change(f.GetTypedConfig(), &m, func() (bool, error) {
		auto := strings.Contains(m.GetRds().GetRouteConfigName(), ":")
		kept := make([]*hcmv3.HttpFilter, 0, len(m.GetHttpFilters()))
		for _, h := range m.GetHttpFilters() {
			k := kind(h.GetTypedConfig())
			if err := settle(h.GetTypedConfig()); err != nil {
				return false, err
			}
			if !slices.Contains([]string{httpExchangeType, statsType, alpnType}, k) {
				kept = append(kept, h)
				continue
			}
			changed = true
			e.note("LDS HTTP filters", "without "+h.GetName())
			if k == alpnType && e.emulateALPN && auto {
				state, err := requestProtocols()
				if err != nil {
					return false, err
				}
				e.note("LDS HTTP filters", "set_filter_state in the place of istio.alpn, ports without a declared protocol")
				kept = append(kept, state)
			}
		}
		m.HttpFilters = kept
		if d == corev3.TrafficDirection_INBOUND {
			changed = e.inboundRoutes(m.GetRouteConfig()) || changed
		} else {
			changed = e.outboundRoutes(m.GetRouteConfig()) || changed
		}
		return changed, nil
	})
	return changed, err
}

// plainProtocols makes what a TCP proxy opens be offered as Istio's TCP: its
// clusters look like those of HTTP/1.1.
func (e *editor) plainProtocols(c *listenerv3.FilterChain) (bool, error) {
	i := slices.IndexFunc(c.Filters, func(f *listenerv3.Filter) bool { return kind(f.GetTypedConfig()) == tcpProxyType })
	if i < 0 {
		return false, nil
	}
	config, err := pack(&netstatev3.Config{OnNewConnection: []*statev3.FilterStateValue{state("istio")}})
	if err != nil {
		return false, err
	}
	e.note("LDS network filters", "set_filter_state in the place of istio.alpn, before outbound tcp_proxy")
	c.Filters = slices.Insert(c.Filters, i, &listenerv3.Filter{
		Name: "envoy.filters.network.set_filter_state", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
	})
	return true, nil
}

// requestProtocols offers what the request's protocol asks for.
func requestProtocols() (*hcmv3.HttpFilter, error) {
	cel, err := pack(&celv3.Cel{})
	if err != nil {
		return nil, err
	}
	value := state("%CEL(request.protocol == 'HTTP/2' ? '" + strings.Join(alpnHTTP2, ",") + "' : '" + strings.Join(alpnHTTP1, ",") + "')%")
	format := value.GetFormatString()
	format.OmitEmptyValues = true
	format.Formatters = []*corev3.TypedExtensionConfig{{Name: "envoy.formatter.cel", TypedConfig: cel}}
	value.SkipIfEmpty = true
	config, err := pack(&httpstatev3.Config{OnRequestHeaders: []*statev3.FilterStateValue{value}})
	if err != nil {
		return nil, err
	}
	return &hcmv3.HttpFilter{
		Name: "envoy.filters.http.set_filter_state", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: config},
	}, nil
}

func state(text string) *statev3.FilterStateValue {
	return &statev3.FilterStateValue{
		Key: &statev3.FilterStateValue_ObjectKey{ObjectKey: protocolsKey},
		Value: &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: text},
			}},
		}},
	}
}
