package compile

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/outrigger-mesh/outrigger/proxy"
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
