package compile

import (
	"cmp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// ruleTunnels compiles which upgrades a route allows or forbids, whatever its listener
// says, and whether CONNECT ends here.
func ruleTunnels(s scope, a *routev3.RouteAction) proxy.RuleTunnels {
	var out proxy.RuleTunnels
	for i, u := range a.GetUpgradeConfigs() {
		us := s.at("upgrade_configs", i)
		token := strings.ToLower(u.GetUpgradeType())
		if _, twice := out.Upgrades[token]; twice {
			us.in("upgrade_type").fail("%q is there twice", token)
		}
		if out.Upgrades == nil {
			out.Upgrades = make(map[string]bool)
		}
		out.Upgrades[token] = truth(u.GetEnabled(), true)
		c := u.GetConnectConfig()
		if c == nil {
			continue
		}
		cs := us.in("connect_config")
		if token != "connect" {
			cs.fail("goes with CONNECT only, not with %q", token)
		}
		if c.GetProxyProtocolConfig() != nil {
			cs.in("proxy_protocol_config").fail("is not supported")
		}
		if c.GetAllowPost() {
			cs.in("allow_post").fail("is not supported")
		}
		out.Terminate = true
	}
	return out
}

// tcpTunnel compiles the way through an HTTP proxy; nil where there is none.
func tcpTunnel(s scope, m *tcpv3.TcpProxy_TunnelingConfig) *proxy.TCPTunnel {
	if m == nil {
		return nil
	}
	out := &proxy.TCPTunnel{Target: m.GetHostname(), Post: m.GetUsePost(), Path: cmp.Or(m.GetPostPath(), "/")}
	if m.GetPostPath() != "" && !m.GetUsePost() {
		s.in("post_path").fail("goes with use_post only")
	}
	if out.Target == "" || strings.ContainsAny(out.Target, "% \t\r\n") {
		s.in("hostname").fail("%q is not a plain name", out.Target)
	}
	for i, o := range m.GetHeadersToAdd() {
		hs, h := s.at("headers_to_add", i), o.GetHeader()
		name := strings.ToLower(h.GetKey())
		value, format, err := headerFormat(h.GetValue())
		if format != nil {
			hs.fail("command operators are not supported")
		}
		if hs.check(err) && editable(hs, name) {
			out.Header = append(out.Header, httpmsg.Field{Name: name, Value: value})
		}
	}
	return out
}
