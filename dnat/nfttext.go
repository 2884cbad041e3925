package dnat

import (
	"fmt"
	"strings"
)

// NFTTablePrefix starts the name of every nftables table of ours.
const NFTTablePrefix = "outrigger-"

// NFTChain is the name a chain has in nftables.
func NFTChain(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// NFTPriority is the hook priority of a table, the same as iptables uses.
func NFTPriority(table string) int {
	switch table {
	case TableRaw:
		return -300
	case TableMangle:
		return -150
	default:
		return -100
	}
}

// NFTText prints the plan in the language of nft -f; the netlink backend sends the same rules without it.
func (p *Plan) NFTText() string {
	var b strings.Builder
	for _, f := range p.Families {
		word := nftFamily(f.Family)
		for _, t := range f.Tables {
			fmt.Fprintf(&b, "add table %s %s%s\ndelete table %s %s%s\n", word, NFTTablePrefix, t.Name, word, NFTTablePrefix, t.Name)
		}
		for _, t := range f.Tables {
			t.nftText(&b, f.Family, p.Marker())
		}
	}
	return b.String()
}

func nftFamily(f Family) string {
	if f == IPv6 {
		return "ip6"
	}
	return "ip"
}

func (t *Table) nftText(b *strings.Builder, f Family, marker string) {
	kind := "filter"
	if t.Name == TableNAT {
		kind = "nat"
	}
	fmt.Fprintf(b, "table %s %s%s {\n\tchain %s {\n\t}\n", nftFamily(f), NFTTablePrefix, t.Name, NFTChain(marker))
	for _, c := range t.Chains {
		fmt.Fprintf(b, "\tchain %s {\n", NFTChain(c.Name))
		for _, r := range c.Rules {
			fmt.Fprintf(b, "\t\t# %s\n\t\t%s\n", r.Reason, r.nftText(f))
		}
		b.WriteString("\t}\n")
	}
	for _, h := range t.Hooks {
		fmt.Fprintf(b, "\tchain %s {\n\t\ttype %s hook %s priority %d; policy accept;\n", NFTChain(h.Point), kind, NFTChain(h.Point), NFTPriority(t.Name))
		fmt.Fprintf(b, "\t\t# %s\n\t\t%s\n\t}\n", h.Rule.Reason, h.Rule.nftText(f))
	}
	b.WriteString("}\n")
}

func (r *Rule) nftText(f Family) string {
	var words []string
	for _, m := range r.Match {
		words = append(words, m.nftText(f, r.proto()))
	}
	return strings.Join(append(words, "counter", r.Verdict.nftText()), " ")
}

func (r *Rule) proto() Proto {
	for _, m := range r.Match {
		if m.Key == KeyProto {
			return m.Proto
		}
	}
	return 0
}

func (m *Match) nftText(f Family, p Proto) string {
	op := ""
	if m.Not {
		op = "!= "
	}
	switch m.Key {
	case KeySrc:
		return fmt.Sprintf("%s saddr %s%v", nftFamily(f), op, m.Prefix)
	case KeyDst:
		return fmt.Sprintf("%s daddr %s%v", nftFamily(f), op, m.Prefix)
	case KeyIn:
		return fmt.Sprintf("iifname %s%q", op, nftIface(m.Iface))
	case KeyOut:
		return fmt.Sprintf("oifname %s%q", op, nftIface(m.Iface))
	case KeyProto:
		return fmt.Sprintf("meta l4proto %s%v", op, m.Proto)
	case KeySrcPort:
		return fmt.Sprintf("%v sport %s%s", p, op, portList(m.Ports))
	case KeyDstPort:
		var words []string
		for _, port := range m.Ports {
			words = append(words, fmt.Sprintf("%v dport %s%d", p, op, port))
		}
		return strings.Join(words, " ")
	case KeyUID:
		return fmt.Sprintf("meta skuid %s%d", op, m.ID)
	case KeyGID:
		return fmt.Sprintf("meta skgid %s%d", op, m.ID)
	case KeyInvalid:
		return "ct state invalid"
	}
	return ""
}

func nftIface(name string) string {
	if base, found := strings.CutSuffix(name, "+"); found {
		return base + "*"
	}
	return name
}

func (v *Verdict) nftText() string {
	switch v.Action {
	case ActionReturn:
		return "return"
	case ActionDrop:
		return "drop"
	case ActionJump:
		return "jump " + NFTChain(v.Chain)
	case ActionRedirect:
		return fmt.Sprintf("redirect to :%d", v.Port)
	case ActionZone:
		return fmt.Sprintf("ct zone set %d", v.Zone)
	}
	return ""
}
