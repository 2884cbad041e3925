package initcmd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/dnat"
	"github.com/outrigger-mesh/outrigger/dnat/apply"
)

// system answers what flags leave open.
type system struct {
	addresses func() ([]netip.Addr, error)
	resolvers func() ([]netip.Addr, error)
	user      func(name string) (uint32, error)
	group     func(name string) (uint32, error)
}

// reader turns text into typed values and collects every complaint with the flag's name.
type reader struct {
	v        *values
	problems []error
}

func (r *reader) fail(where string, err error) {
	if err != nil {
		r.problems = append(r.problems, fmt.Errorf("%s: %w", where, err))
	}
}

// configure builds the plan's input. Only what is asked for is looked up, so that a dry run needs nothing.
func configure(v *values, s *system) (dnat.Config, error) {
	r := &reader{v: v}
	c := dnat.DefaultConfig()
	if mode := v.text("istio-inbound-interception-mode"); mode != "" {
		c.Mode = dnat.Mode(mode)
	}
	c.Ports.Outbound = r.port("envoy-port")
	c.Ports.Inbound = r.port("inbound-capture-port")
	c.Ports.Tunnel = r.port("inbound-tunnel-port")
	c.Proxy = r.identity(s)

	c.Inbound.All = strings.TrimSpace(v.text("istio-inbound-ports")) == "*"
	if !c.Inbound.All {
		c.Inbound.Ports = r.ports("istio-inbound-ports")
	}
	c.Inbound.ExcludePorts = r.ports("istio-local-exclude-ports")
	c.Outbound.All = strings.TrimSpace(v.text("istio-service-cidr")) == "*"
	if !c.Outbound.All {
		c.Outbound.CIDRs = r.cidrs("istio-service-cidr")
	}
	c.Outbound.ExcludeCIDRs = r.cidrs("istio-service-exclude-cidr")
	c.Outbound.Ports = r.ports("istio-outbound-ports")
	c.Outbound.ExcludePorts = r.ports("istio-local-outbound-ports-exclude")
	c.Outbound.Groups = r.groups(envGroups, s)
	c.Outbound.ExcludeGroups = r.groups(envExcludeGroups, s)
	if text := v.environ[envLoopback]; text != "" {
		prefix, err := parsePrefix(text)
		r.fail(envLoopback, err)
		c.Outbound.Loopback = prefix
	}
	c.ExcludedInterfaces = splitList(v.text("istio-exclude-interfaces"))
	c.VirtualInterfaces = splitList(v.text("kube-virt-interfaces"))
	c.DropInvalid = v.flag("drop-invalid")
	c.DNS = r.dns(s)
	c.IPv6 = r.ipv6(s)
	return c, errors.Join(r.problems...)
}

// choice is the backend asked for.
func (r *reader) choice() apply.Choice {
	native, binary := r.v.flag("native-nftables"), r.v.text("force-iptables-binary")
	if native && binary != "" {
		r.fail("--native-nftables", errors.New("contradicts --force-iptables-binary"))
	}
	switch {
	case native:
		return apply.Native
	case binary == "":
		return apply.Auto
	case binary == "legacy":
		return apply.IPTablesLegacy
	case binary == "nft":
		return apply.IPTablesNFT
	}
	r.fail("--force-iptables-binary", fmt.Errorf("%q is none of legacy, nft", binary))
	return apply.Auto
}

func (r *reader) port(name string) uint16 {
	port, err := parsePort(r.v.text(name))
	r.fail("--"+name, err)
	return port
}

func (r *reader) ports(name string) []uint16 {
	var ports []uint16
	for _, word := range splitList(r.v.text(name)) {
		port, err := parsePort(word)
		r.fail("--"+name, err)
		if err == nil && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

func (r *reader) cidrs(name string) []netip.Prefix {
	var list []netip.Prefix
	for _, word := range splitList(r.v.text(name)) {
		prefix, err := parsePrefix(word)
		r.fail("--"+name, err)
		if err == nil && !slices.Contains(list, prefix) {
			list = append(list, prefix)
		}
	}
	return list
}

func (r *reader) ids(where, text string, lookup func(string) (uint32, error)) []uint32 {
	var ids []uint32
	for _, word := range splitList(text) {
		n, err := strconv.ParseUint(word, 10, 32)
		id := uint32(n)
		if err != nil && lookup != nil {
			id, err = lookup(word)
		}
		r.fail(where, err)
		if err == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// identity defaults to the user named by ENVOY_USER, then to 1337; groups default to the users.
func (r *reader) identity(s *system) dnat.Identity {
	var id dnat.Identity
	id.UIDs = r.ids("--proxy-uid", r.v.text("proxy-uid"), nil)
	if len(id.UIDs) == 0 {
		name := r.v.environ[envUser]
		if name == "" {
			name = "istio-proxy"
		}
		uid, err := s.user(name)
		if err != nil {
			uid = 1337
		}
		id.UIDs = []uint32{uid}
	}
	id.GIDs = r.ids("--proxy-gid", r.v.text("proxy-gid"), nil)
	if len(id.GIDs) == 0 {
		id.GIDs = slices.Clone(id.UIDs)
	}
	return id
}

func (r *reader) groups(name string, s *system) []uint32 {
	text := strings.TrimSpace(r.v.environ[name])
	if name == envGroups && text == "*" {
		return nil
	}
	return r.ids(name, text, s.group)
}

func (r *reader) dns(s *system) dnat.DNS {
	d := dnat.DNS{Redirect: r.v.flag("redirect-dns"), CaptureAll: r.v.flag("capture-all-dns")}
	if d.Redirect && !d.CaptureAll {
		var err error
		d.Servers, err = s.resolvers()
		r.fail("--redirect-dns", err)
	}
	return d
}

func (r *reader) ipv6(s *system) bool {
	if word := r.v.environ[envIPv6]; word != "" && word != "auto" {
		on, err := strconv.ParseBool(word)
		if err != nil {
			err = fmt.Errorf("%q is none of auto, true, false", word)
		}
		r.fail(envIPv6, err)
		return on
	}
	addrs, err := s.addresses()
	r.fail("list addresses", err)
	return slices.ContainsFunc(addrs, netip.Addr.Is6)
}

func (r *reader) timeout() time.Duration {
	d, err := time.ParseDuration(r.v.text("probe-timeout"))
	r.fail("--probe-timeout", err)
	return d
}

// splitList drops empty entries, so that a trailing comma does no harm.
func splitList(text string) []string {
	var words []string
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port (1 to 65535)", text)
	}
	return uint16(n), nil
}

// parsePrefix takes an address for the network of that one address.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" && !addr.Is4In6() {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no address range (such as 10.0.0.0/8 or fd00::/8)", text)
	}
	return prefix.Masked(), nil
}
