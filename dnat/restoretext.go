package dnat

import (
	"fmt"
	"strconv"
	"strings"
)

// RestoreText prints a family as input of iptables-restore or ip6tables-restore --noflush for a namespace without
// rules, each rule under its reason.
func (p *Plan) RestoreText(family Family) string {
	var b strings.Builder
	for _, f := range p.Families {
		if f.Family != family {
			continue
		}
		for _, t := range f.Tables {
			t.restoreText(&b, p.Marker())
		}
	}
	return b.String()
}

func (t *Table) restoreText(b *strings.Builder, marker string) {
	fmt.Fprintf(b, "*%s\n:%s - [0:0]\n", t.Name, marker)
	for _, c := range t.Chains {
		fmt.Fprintf(b, ":%s - [0:0]\n", c.Name)
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			fmt.Fprintf(b, "# %s\n-A %s %s\n", r.Reason, c.Name, r.Args())
		}
	}
	for _, h := range t.Hooks {
		fmt.Fprintf(b, "# %s\n-A %s %s\n", h.Rule.Reason, h.Point, h.Rule.Args())
	}
	b.WriteString("COMMIT\n")
}

// rulesText is what the digest covers.
func (f *FamilyPlan) rulesText() string {
	var b strings.Builder
	for _, t := range f.Tables {
		fmt.Fprintf(&b, "*%s\n", t.Name)
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				fmt.Fprintf(&b, "-A %s %s\n", c.Name, r.Args())
			}
		}
		for _, h := range t.Hooks {
			fmt.Fprintf(&b, "-A %s %s\n", h.Point, h.Rule.Args())
		}
	}
	return b.String()
}

// Args is the rule in the words and the order of iptables-save, so that what was written can be compared with what
// is read back.
func (r *Rule) Args() string {
	var words []string
	var p Proto
	for _, m := range r.Match {
		if m.Key == KeyProto {
			p = m.Proto
		}
		words = append(words, m.args(p)...)
	}
	return strings.Join(append(words, r.Verdict.args()...), " ")
}

func (m *Match) args(p Proto) []string {
	switch m.Key {
	case KeySrc:
		return m.negated("-s", m.Prefix.String())
	case KeyDst:
		return m.negated("-d", m.Prefix.String())
	case KeyIn:
		return m.negated("-i", m.Iface)
	case KeyOut:
		return m.negated("-o", m.Iface)
	case KeyProto:
		return m.negated("-p", p.String())
	case KeySrcPort:
		return append([]string{"-m", p.String()}, m.negated("--sport", portList(m.Ports))...)
	case KeyDstPort:
		if len(m.Ports) > 1 {
			return append([]string{"-m", "multiport"}, m.negated("--dports", portList(m.Ports))...)
		}
		return append([]string{"-m", p.String()}, m.negated("--dport", portList(m.Ports))...)
	case KeyUID:
		return append([]string{"-m", "owner"}, m.negated("--uid-owner", utoa(m.ID))...)
	case KeyGID:
		return append([]string{"-m", "owner"}, m.negated("--gid-owner", utoa(m.ID))...)
	case KeyInvalid:
		return append([]string{"-m", "conntrack"}, m.negated("--ctstate", "INVALID")...)
	}
	return nil
}

func (m *Match) negated(option, value string) []string {
	if m.Not {
		return []string{"!", option, value}
	}
	return []string{option, value}
}

func (v *Verdict) args() []string {
	switch v.Action {
	case ActionReturn:
		return []string{"-j", "RETURN"}
	case ActionDrop:
		return []string{"-j", "DROP"}
	case ActionJump:
		return []string{"-j", v.Chain}
	case ActionRedirect:
		return []string{"-j", "REDIRECT", "--to-ports", utoa(uint32(v.Port))}
	case ActionZone:
		return []string{"-j", "CT", "--zone", utoa(uint32(v.Zone))}
	}
	return nil
}

func portList(ports []uint16) string {
	var words []string
	for _, p := range ports {
		words = append(words, utoa(uint32(p)))
	}
	return strings.Join(words, ",")
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
