package dnat

import (
	"fmt"
	"net/netip"
	"slices"
)

const (
	dnsPort        = 53
	zoneProxyQuery = 1 // proxy <-> upstream resolver
	zoneAppQuery   = 2 // app <-> proxy
)

// builder derives the rules of one family.
type builder struct {
	config *Config
	family Family
}

func (b *builder) build() FamilyPlan {
	f := FamilyPlan{Family: b.family}
	for _, t := range []Table{b.raw(), b.mangle(), b.nat()} {
		if len(t.Chains) > 0 {
			f.Tables = append(f.Tables, t)
		}
	}
	return f
}

// rules is a chain in the making.
type rules []Rule

func (r *rules) add(reason string, v Verdict, match ...Match) {
	slices.SortStableFunc(match, func(a, b Match) int { return int(a.Key) - int(b.Key) })
	*r = append(*r, Rule{Match: match, Verdict: v, Reason: reason})
}

func (b *builder) nat() Table {
	t := Table{Name: TableNAT}
	var toProxyOut, toProxyIn rules
	toProxyOut.add("hand outbound TCP to the proxy", redirect(b.config.Ports.Outbound), proto(TCP))
	toProxyIn.add("hand inbound TCP to the proxy", redirect(b.config.Ports.Inbound), proto(TCP))
	t.Chains = append(t.Chains, Chain{chainRedirect, toProxyOut}, Chain{chainInRedirect, toProxyIn})

	if inbound := b.inbound(); len(inbound) > 0 {
		t.Chains = append(t.Chains, Chain{chainInbound, inbound})
		t.hook(HookPrerouting, "look at TCP that reaches the pod", jump(chainInbound), proto(TCP))
	}
	if b.capturesDNS() {
		t.Chains = append(t.Chains, Chain{chainOutputDNS, b.redirectDNS()})
	}
	t.Chains = append(t.Chains, Chain{chainOutput, b.outbound()})
	t.hook(HookOutput, "look at all that leaves the pod's processes", jump(chainOutput))
	return t
}

func (t *Table) hook(point, reason string, v Verdict, match ...Match) {
	t.Hooks = append(t.Hooks, Hook{Point: point, Rule: Rule{Match: match, Verdict: v, Reason: reason}})
}

// inbound is empty when nothing that arrives has to be looked at.
func (b *builder) inbound() rules {
	var r rules
	c := b.config
	captures := c.Inbound.All || len(c.Inbound.Ports) > 0
	if !captures && len(c.VirtualInterfaces) == 0 {
		return nil
	}
	for _, name := range c.ExcludedInterfaces {
		r.add("excluded interface", leave(), in(name))
	}
	b.guests(&r)
	if !captures {
		return r
	}
	r.add("HBONE has its own listener", leave(), proto(TCP), dport(c.Ports.Tunnel))
	if !c.Inbound.All {
		for _, port := range c.Inbound.Ports {
			r.add("included inbound port", jump(chainInRedirect), proto(TCP), dport(port))
		}
		return r
	}
	for _, port := range c.Inbound.ExcludePorts {
		r.add("excluded inbound port", leave(), proto(TCP), dport(port))
	}
	r.add("all other inbound ports", jump(chainInRedirect), proto(TCP))
	return r
}

// guests treats what arrives from a virtual interface as outbound traffic of the guest behind it.
func (b *builder) guests(r *rules) {
	all, cidrs := b.config.Outbound.All, b.own(b.config.Outbound.CIDRs)
	for _, name := range b.config.VirtualInterfaces {
		if all || len(cidrs) > 0 {
			for _, cidr := range b.own(b.config.Outbound.ExcludeCIDRs) {
				r.add("excluded range, seen from a guest", leave(), in(name), dst(cidr))
			}
		}
		if all {
			r.add("outbound traffic of a guest", jump(chainRedirect), in(name))
			continue
		}
		for _, cidr := range cidrs {
			r.add("included range, seen from a guest", jump(chainRedirect), in(name), dst(cidr))
		}
		r.add("other traffic of a guest", leave(), in(name))
	}
}

func (b *builder) outbound() rules {
	var r rules
	c := b.config
	for _, name := range c.ExcludedInterfaces {
		r.add("excluded interface", leave(), out(name))
	}
	for _, port := range c.Outbound.ExcludePorts {
		r.add("excluded outbound port", leave(), proto(TCP), dport(port))
		r.add("excluded outbound port", leave(), proto(UDP), dport(port))
	}
	r.add("the proxy's connection to its own app", leave(), out("lo"), src(hostPrefix(b.passthrough())))
	b.ownTraffic(&r)
	b.owners(&r)
	if b.capturesDNS() {
		r.add("queries go to the proxy's resolver", jump(chainOutputDNS))
	}
	r.add("traffic between containers of the pod", leave(), dst(b.loopback()))
	for _, cidr := range b.own(c.Outbound.ExcludeCIDRs) {
		r.add("excluded range", leave(), dst(cidr))
	}
	for _, port := range c.Outbound.Ports {
		r.add("included outbound port", jump(chainRedirect), proto(TCP), dport(port))
	}
	if c.Outbound.All {
		r.add("all other outbound TCP", jump(chainRedirect))
		return r
	}
	for _, cidr := range b.own(c.Outbound.CIDRs) {
		r.add("included range", jump(chainRedirect), dst(cidr))
	}
	return r
}

// ownTraffic settles everything the proxy sends, whichever of its ids it runs as, and then what an app sends to its
// own pod. Every id is asked before any rule that concludes "not the proxy".
func (b *builder) ownTraffic(r *rules) {
	c := b.config
	owners := b.proxyIDs()
	spared := []uint16{c.Ports.Tunnel}
	if c.DNS.Redirect {
		spared = []uint16{dnsPort, c.Ports.Tunnel}
	}
	for _, owner := range owners {
		r.add("the proxy chose its own pod: inbound policy applies", jump(chainInRedirect),
			out("lo"), not(dst(b.loopback())), proto(TCP), not(dport(spared...)), owner)
	}
	for _, owner := range owners {
		r.add("never capture what the proxy sends", leave(), owner)
	}
	if b.includesLoopback() {
		return
	}
	if c.DNS.Redirect {
		r.add("an app calling its own pod, but for queries", leave(), out("lo"), proto(TCP), not(dport(dnsPort)))
		return
	}
	r.add("an app calling its own pod", leave(), out("lo"))
}

func (b *builder) owners(r *rules) {
	for _, id := range b.config.Outbound.ExcludeGroups {
		r.add("processes of an excluded group", leave(), gid(id))
	}
	if len(b.config.Outbound.Groups) == 0 {
		return
	}
	var others []Match
	for _, id := range b.config.Outbound.Groups {
		others = append(others, not(gid(id)))
	}
	r.add("processes outside the included groups", leave(), others...)
}

func (b *builder) mangle() Table {
	t := Table{Name: TableMangle}
	if !b.config.DropInvalid {
		return t
	}
	var r rules
	r.add("out of window: a reset would kill a live connection", Verdict{Action: ActionDrop}, Match{Key: KeyInvalid})
	t.Chains = append(t.Chains, Chain{chainDrop, r})
	t.hook(HookPrerouting, "look for invalid packets", jump(chainDrop))
	return t
}

func (b *builder) proxyIDs() []Match {
	var owners []Match
	for _, id := range b.config.Proxy.UIDs {
		owners = append(owners, uid(id))
	}
	for _, id := range b.config.Proxy.GIDs {
		owners = append(owners, gid(id))
	}
	return owners
}

// own keeps the prefixes of this family.
func (b *builder) own(cidrs []netip.Prefix) []netip.Prefix {
	var kept []netip.Prefix
	for _, cidr := range cidrs {
		if cidr.Addr().Is4() == (b.family == IPv4) {
			kept = append(kept, cidr.Masked())
		}
	}
	return kept
}

// includesLoopback tells that a range inside the pod's loopback is to be captured, in either family: then calls
// over lo must reach the rules for ranges.
func (b *builder) includesLoopback() bool {
	return slices.ContainsFunc(b.config.Outbound.CIDRs, func(p netip.Prefix) bool { return p.Addr().IsLoopback() })
}

func (b *builder) localhost() netip.Addr {
	if b.family == IPv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func (b *builder) loopback() netip.Prefix {
	if b.family == IPv6 {
		return hostPrefix(netip.IPv6Loopback())
	}
	return b.config.Outbound.Loopback.Masked()
}

func (b *builder) passthrough() netip.Addr { return PassthroughSource(b.localhost()) }

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// capturesDNS is false where no rule could ever meet: no server of the family, or port 53 excluded altogether.
func (b *builder) capturesDNS() bool {
	c := b.config
	if !c.DNS.Redirect || slices.Contains(c.Outbound.ExcludePorts, dnsPort) {
		return false
	}
	return c.DNS.CaptureAll || len(b.servers()) > 0
}

// servers are the resolvers of this family, each once.
func (b *builder) servers() []netip.Addr {
	var kept []netip.Addr
	for _, s := range b.config.DNS.Servers {
		if s.Is4() == (b.family == IPv4) && !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// perServer calls add with a match for each resolver, or once with none when every server is captured.
func (b *builder) perServer(match func(netip.Prefix) Match, add func(who string, m []Match)) {
	if b.config.DNS.CaptureAll {
		add("any resolver", nil)
		return
	}
	for _, s := range b.servers() {
		add(fmt.Sprintf("resolver %v", s), []Match{match(hostPrefix(s))})
	}
}

func (b *builder) redirectDNS() rules {
	var r rules
	for _, p := range []Proto{TCP, UDP} {
		b.perServer(dst, func(who string, m []Match) {
			r.add("query to "+who, redirect(b.config.Ports.DNS), append(m, proto(p), dport(dnsPort))...)
		})
	}
	return r
}

// raw puts the two halves of a UDP query into conntrack zones of their own: else an app that reuses a source port
// of the proxy would meet the proxy's conntrack entry and pass it by. The first verdict wins, so the proxy's ids
// come first.
func (b *builder) raw() Table {
	t := Table{Name: TableRaw}
	if !b.capturesDNS() {
		return t
	}
	var queries, answers rules
	for _, owner := range b.proxyIDs() {
		queries.add("proxy to resolver", zone(zoneProxyQuery), proto(UDP), dport(dnsPort), owner)
		queries.add("proxy to app", zone(zoneAppQuery), proto(UDP), sport(b.config.Ports.DNS), owner)
	}
	b.perServer(dst, func(who string, m []Match) {
		queries.add("app to "+who, zone(zoneAppQuery), append(m, proto(UDP), dport(dnsPort))...)
	})
	b.perServer(src, func(who string, m []Match) {
		answers.add(who+" to proxy", zone(zoneProxyQuery), append(m, proto(UDP), sport(dnsPort))...)
	})
	t.Chains = append(t.Chains, Chain{chainOutputDNS, queries}, Chain{chainInbound, answers})
	t.hook(HookOutput, "keep queries apart in conntrack", jump(chainOutputDNS), proto(UDP))
	t.hook(HookPrerouting, "keep answers apart in conntrack", jump(chainInbound), proto(UDP))
	return t
}
