package dnat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxOwnerGroups = 64   // one rule carries them all; the limit of Istio
	maxEntries     = 1024 // of any list: a longer one is a mistake, not a policy
	maxIfaceName   = 15   // IFNAMSIZ less the final NUL
	noID           = 1<<32 - 1
)

// problems collects what is wrong; where names the flag and the field.
type problems []error

func (p *problems) add(where, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

// Validate reports everything that is wrong, each problem with its flag and field.
func (c *Config) Validate() error {
	var p problems
	switch c.Mode {
	case ModeRedirect, ModeNone:
	case ModeTProxy:
		p.add("--istio-inbound-interception-mode (Mode)", "TPROXY is not supported by this version; use REDIRECT")
	default:
		p.add("--istio-inbound-interception-mode (Mode)", "%q is none of REDIRECT, NONE", string(c.Mode))
	}
	c.validatePorts(&p)
	c.validateOwners(&p)
	c.validateNetworks(&p)
	c.validateInterfaces(&p)
	return errors.Join(p...)
}

func (c *Config) validatePorts(p *problems) {
	named := []struct {
		where string
		port  uint16
	}{
		{"--envoy-port (Ports.Outbound)", c.Ports.Outbound},
		{"--inbound-capture-port (Ports.Inbound)", c.Ports.Inbound},
		{"--inbound-tunnel-port (Ports.Tunnel)", c.Ports.Tunnel},
		{"DNS port (Ports.DNS)", c.Ports.DNS},
	}
	for i, n := range named {
		if n.port == 0 {
			p.add(n.where, "must not be 0")
		}
		for _, m := range named[:i] {
			if n.port != 0 && n.port == m.port {
				p.add(n.where, "%d is also %s", n.port, m.where)
			}
		}
	}
	lists := []struct {
		where string
		ports []uint16
	}{
		{"--istio-inbound-ports (Inbound.Ports)", c.Inbound.Ports},
		{"--istio-local-exclude-ports (Inbound.ExcludePorts)", c.Inbound.ExcludePorts},
		{"--istio-outbound-ports (Outbound.Ports)", c.Outbound.Ports},
		{"--istio-local-outbound-ports-exclude (Outbound.ExcludePorts)", c.Outbound.ExcludePorts},
	}
	for _, l := range lists {
		p.checkLen(l.where, len(l.ports), maxEntries)
		if slices.Contains(l.ports, 0) {
			p.add(l.where, "port 0 does not exist")
		}
	}
}

func (p *problems) checkLen(where string, got, limit int) {
	if got > limit {
		p.add(where, "%d entries, at most %d are possible", got, limit)
	}
}

func (c *Config) validateOwners(p *problems) {
	if len(c.Proxy.UIDs)+len(c.Proxy.GIDs) == 0 {
		p.add("--proxy-uid, --proxy-gid (Proxy)", "empty: the proxy's own connections would loop for ever")
	}
	lists := []struct {
		where string
		ids   []uint32
	}{
		{"--proxy-uid (Proxy.UIDs)", c.Proxy.UIDs},
		{"--proxy-gid (Proxy.GIDs)", c.Proxy.GIDs},
		{"ISTIO_OUTBOUND_OWNER_GROUPS (Outbound.Groups)", c.Outbound.Groups},
		{"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE (Outbound.ExcludeGroups)", c.Outbound.ExcludeGroups},
	}
	for _, l := range lists {
		p.checkLen(l.where, len(l.ids), maxOwnerGroups)
		if slices.Contains(l.ids, noID) {
			p.add(l.where, "%d means \"no id\" to the kernel", uint32(noID))
		}
	}
}

func (c *Config) validateNetworks(p *problems) {
	lists := []struct {
		where string
		cidrs []netip.Prefix
	}{
		{"--istio-service-cidr (Outbound.CIDRs)", c.Outbound.CIDRs},
		{"--istio-service-exclude-cidr (Outbound.ExcludeCIDRs)", c.Outbound.ExcludeCIDRs},
	}
	for _, l := range lists {
		p.checkLen(l.where, len(l.cidrs), maxEntries)
		for _, cidr := range l.cidrs {
			if !cidr.IsValid() || cidr.Addr().Is4In6() {
				p.add(l.where, "%v is no IPv4 or IPv6 prefix", cidr)
			}
		}
	}
	if lo := c.Outbound.Loopback; !lo.IsValid() || !lo.Addr().Is4() {
		p.add("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR (Outbound.Loopback)", "%v is no IPv4 prefix", lo)
	}
	p.checkLen("nameservers (DNS.Servers)", len(c.DNS.Servers), maxEntries)
	for _, server := range c.DNS.Servers {
		if !server.IsValid() || server.Zone() != "" || server.Is4In6() {
			p.add("nameservers (DNS.Servers)", "%v is no plain address", server)
		}
	}
}

func (c *Config) validateInterfaces(p *problems) {
	const excluded, virtual = "--istio-exclude-interfaces (ExcludedInterfaces)", "--kube-virt-interfaces (VirtualInterfaces)"
	p.checkLen(excluded, len(c.ExcludedInterfaces), maxEntries)
	p.checkLen(virtual, len(c.VirtualInterfaces), maxEntries)
	for _, name := range c.ExcludedInterfaces {
		if why := badInterface(name); why != "" {
			p.add(excluded, "%q %s", name, why)
		}
	}
	for _, name := range c.VirtualInterfaces {
		if why := badInterface(name); why != "" {
			p.add(virtual, "%q %s", name, why)
		}
		if slices.Contains(c.ExcludedInterfaces, name) {
			p.add(virtual, "%q is also excluded by --istio-exclude-interfaces", name)
		}
	}
}

// badInterface holds names to the kernel's rules and to what can stand in a rule text without quoting. A final "+"
// is iptables' wildcard.
func badInterface(name string) string {
	base := strings.TrimSuffix(name, "+")
	switch {
	case base == "" || base == "." || base == "..":
		return "is no interface name"
	case len(name) > maxIfaceName:
		return fmt.Sprintf("is longer than %d bytes", maxIfaceName)
	}
	for _, r := range base {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@", r)
		if !ok {
			return fmt.Sprintf("contains %q", r)
		}
	}
	if base[0] == '-' {
		return "starts with a dash"
	}
	return ""
}
