package dnat

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Family is an address family.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String names the family as people write it.
func (f Family) String() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// The tables a plan may use, named as in iptables.
const (
	TableRaw    = "raw"
	TableMangle = "mangle"
	TableNAT    = "nat"
)

// The hooks a plan uses; each is the name of iptables' built-in chain.
const (
	HookPrerouting = "PREROUTING"
	HookOutput     = "OUTPUT"
)

// The chains of a plan. They carry Istio's names, so that run books and bug reports read the same.
const (
	chainInbound    = "ISTIO_INBOUND"
	chainInRedirect = "ISTIO_IN_REDIRECT"
	chainOutput     = "ISTIO_OUTPUT"
	chainOutputDNS  = "ISTIO_OUTPUT_DNS"
	chainRedirect   = "ISTIO_REDIRECT"
	chainDrop       = "ISTIO_DROP"
)

// MarkerPrefix starts the name of the empty, unreferenced chain that each table of ours holds: it names the owner
// and the digest of the plan without needing any extension of the kernel.
const MarkerPrefix = "OUTRIGGER_"

// Plan is everything that has to be in the kernel, and nothing that depends on how it gets there.
type Plan struct {
	Families []FamilyPlan
	Digest   string   // of the rules, not of the reasons
	Warnings []string // what the plan could not do as asked
}

// FamilyPlan holds the tables of one address family. A family without rules has no tables.
type FamilyPlan struct {
	Family Family
	Tables []Table
}

// Table is one netfilter table: at most one jump per hook, and the chains.
type Table struct {
	Name   string
	Hooks  []Hook
	Chains []Chain
}

// Hook is the only rule a plan has in a built-in chain: a jump into a chain of ours. Clean-up by name is therefore
// complete.
type Hook struct {
	Point string // HookPrerouting or HookOutput
	Rule  Rule
}

// Chain is an ordered list of rules.
type Chain struct {
	Name  string
	Rules []Rule
}

// Rule is met when all matches are.
type Rule struct {
	Match   []Match
	Verdict Verdict
	Reason  string
}

// Marker is the name of the marker chain of this plan.
func (p *Plan) Marker() string { return MarkerPrefix + p.Digest }

// Empty tells whether nothing is captured at all.
func (p *Plan) Empty() bool {
	for _, f := range p.Families {
		if len(f.Tables) > 0 {
			return false
		}
	}
	return true
}

// Has tells whether the plan has rules for the family.
func (p *Plan) Has(family Family) bool {
	for _, f := range p.Families {
		if f.Family == family {
			return len(f.Tables) > 0
		}
	}
	return false
}

// NewPlan validates the configuration and derives the rules from it.
func NewPlan(c Config) (*Plan, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &Plan{}
	if c.Mode == ModeNone {
		p.seal()
		return p, nil
	}
	families := []Family{IPv4}
	if c.IPv6 {
		families = append(families, IPv6)
	}
	for _, family := range families {
		b := &builder{config: &c, family: family}
		p.Families = append(p.Families, b.build())
	}
	p.Warnings = warnings(&c)
	p.seal()
	return p, nil
}

// seal computes the digest. The leading word changes with the format of the rules.
func (p *Plan) seal() {
	h := sha256.New()
	fmt.Fprint(h, "plan 1\n")
	for _, f := range p.Families {
		fmt.Fprintf(h, "%s\n%s", f.Family, f.rulesText())
	}
	p.Digest = hex.EncodeToString(h.Sum(nil)[:8])
}

func warnings(c *Config) []string {
	var w []string
	if c.DNS.Redirect && !c.DNS.CaptureAll && len(c.DNS.Servers) == 0 {
		w = append(w, "DNS capture is off: no nameserver is known and --capture-all-dns is not set")
	}
	for _, uid := range c.Proxy.UIDs {
		if uid == 0 {
			w = append(w, "the proxy's uid is 0: nothing that root sends is captured")
		}
	}
	for _, cidr := range c.Outbound.ExcludeCIDRs {
		if cidr.Bits() == 0 {
			w = append(w, fmt.Sprintf("%v is excluded: no outbound address of this family is captured", cidr))
		}
	}
	return w
}
