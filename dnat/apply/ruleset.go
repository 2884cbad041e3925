package apply

import (
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// ruleset is the output of iptables-save.
type ruleset struct {
	tables []savedTable
}

type savedTable struct {
	name   string
	chains []string // user-defined
	rules  []savedRule
}

type savedRule struct {
	chain string
	args  string // after "-A chain "
}

// parseSave keeps the order; what it does not understand (comments, policies, counters) does not matter here.
func parseSave(text string) *ruleset {
	r := &ruleset{}
	var t *savedTable
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			r.tables = append(r.tables, savedTable{name: line[1:]})
			t = &r.tables[len(r.tables)-1]
		case t == nil:
		case strings.HasPrefix(line, ":"):
			name, rest, _ := strings.Cut(line[1:], " ")
			if strings.HasPrefix(rest, "-") {
				t.chains = append(t.chains, name)
			}
		case strings.HasPrefix(line, "-A "):
			chain, args, _ := strings.Cut(line[3:], " ")
			t.rules = append(t.rules, savedRule{chain, args})
		}
	}
	return r
}

func (r *ruleset) table(name string) *savedTable {
	for i := range r.tables {
		if r.tables[i].name == name {
			return &r.tables[i]
		}
	}
	return &savedTable{name: name}
}

// captureChains are the chains of istio-iptables, whose names a plan uses too.
var captureChains = []string{
	"ISTIO_INBOUND", "ISTIO_OUTPUT", "ISTIO_OUTPUT_DNS", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT",
	"ISTIO_DIVERT", "ISTIO_TPROXY", "ISTIO_DROP",
}

// owned tells whether a chain belongs to a capture: ours, or Istio's that we replace.
func owned(chain string) bool {
	return strings.HasPrefix(chain, dnat.MarkerPrefix) || slices.Contains(captureChains, chain)
}

func (t *savedTable) owned() []string {
	var names []string
	for _, c := range t.chains {
		if owned(c) {
			names = append(names, c)
		}
	}
	return names
}

// hooks are the rules outside owned chains that belong to the capture: jumps into it, and, where Istio wrote the
// table, the plain rules Istio puts into built-in chains.
func (t *savedTable) hooks() []savedRule {
	istio := slices.ContainsFunc(t.chains, func(c string) bool { return slices.Contains(captureChains, c) }) &&
		!slices.ContainsFunc(t.chains, func(c string) bool { return strings.HasPrefix(c, dnat.MarkerPrefix) })
	var found []savedRule
	for _, r := range t.rules {
		if owned(r.chain) {
			continue
		}
		if owned(r.target()) || istio && r.istioPlain() {
			found = append(found, r)
		}
	}
	return found
}

func (r *savedRule) target() string {
	words := strings.Fields(r.args)
	for i, w := range words {
		if (w == "-j" || w == "-g") && i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}

// istioPlain recognises what istio-iptables appends to PREROUTING and OUTPUT itself: a bare interface with RETURN,
// and the mark rules of TPROXY (1337 is 0x539, 1338 is 0x53a).
func (r *savedRule) istioPlain() bool {
	if r.chain != dnat.HookPrerouting && r.chain != dnat.HookOutput {
		return false
	}
	words := strings.Fields(r.args)
	bare := len(words) == 4 && (words[0] == "-i" || words[0] == "-o") && words[2] == "-j" && words[3] == "RETURN"
	return bare || strings.Contains(r.args, "0x539") || strings.Contains(r.args, "0x53a")
}

// equal compares with the plan, rule by rule in order. Options of one rule may come in any order.
func (r *ruleset) equal(want []dnat.Table, marker string) bool {
	for _, name := range r.names(want) {
		have := r.table(name)
		i := slices.IndexFunc(want, func(t dnat.Table) bool { return t.Name == name })
		if i < 0 {
			if len(have.owned()) > 0 || len(have.hooks()) > 0 {
				return false
			}
			continue
		}
		if !have.equal(&want[i], marker) {
			return false
		}
	}
	return true
}

func (r *ruleset) names(want []dnat.Table) []string {
	var names []string
	for _, t := range r.tables {
		names = append(names, t.name)
	}
	for _, t := range want {
		if !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	return names
}

func (t *savedTable) equal(want *dnat.Table, marker string) bool {
	chains := []string{marker}
	var rules []savedRule
	for _, c := range want.Chains {
		chains = append(chains, c.Name)
		for _, r := range c.Rules {
			rules = append(rules, savedRule{c.Name, r.Args()})
		}
	}
	for _, h := range want.Hooks {
		rules = append(rules, savedRule{h.Point, h.Rule.Args()})
	}
	have := t.owned()
	slices.Sort(have)
	slices.Sort(chains)
	if !slices.Equal(have, chains) {
		return false
	}
	got := t.hooks()
	for _, r := range t.rules {
		if owned(r.chain) {
			got = append(got, r)
		}
	}
	byChain := func(a, b savedRule) int { return strings.Compare(a.chain, b.chain) }
	slices.SortStableFunc(got, byChain)
	slices.SortStableFunc(rules, byChain)
	return slices.EqualFunc(got, rules, func(a, b savedRule) bool {
		return a.chain == b.chain && normal(a.args) == normal(b.args)
	})
}

// normal sorts the options of a rule, each with its values and its negation, and drops the loading of extensions,
// which the versions of iptables-save print differently.
func normal(args string) string {
	var groups []string
	words := strings.Fields(args)
	for i := 0; i < len(words); {
		end := i + 1
		if words[i] == "!" {
			end++
		}
		for end < len(words) && words[end] != "!" && !strings.HasPrefix(words[end], "-") {
			end++
		}
		end = min(end, len(words))
		if words[i] != "-m" {
			groups = append(groups, strings.Join(words[i:end], " "))
		}
		i = end
	}
	slices.Sort(groups)
	return strings.Join(groups, " ")
}

// swap is the input of one restore --noflush that turns what is there into what is wanted, atomically per table:
// hooks out, owned chains emptied, new rules and hooks in, chains no longer needed out.
func (r *ruleset) swap(want []dnat.Table, marker string) string {
	var b strings.Builder
	for _, name := range r.names(want) {
		i := slices.IndexFunc(want, func(t dnat.Table) bool { return t.Name == name })
		have := r.table(name)
		switch {
		case i >= 0:
			have.swap(&b, &want[i], marker)
		case len(have.owned()) > 0 || len(have.hooks()) > 0:
			have.swap(&b, &dnat.Table{Name: name}, "")
		}
	}
	return b.String()
}

func (t *savedTable) swap(b *strings.Builder, want *dnat.Table, marker string) {
	var wanted []string
	if marker != "" {
		wanted = append(wanted, marker)
	}
	for _, c := range want.Chains {
		wanted = append(wanted, c.Name)
	}
	stale := slices.DeleteFunc(t.owned(), func(c string) bool { return slices.Contains(wanted, c) })

	fmt.Fprintf(b, "*%s\n", t.name)
	for _, c := range slices.Concat(wanted, stale) {
		fmt.Fprintf(b, ":%s - [0:0]\n", c) // creates, or empties
	}
	for _, r := range t.hooks() {
		fmt.Fprintf(b, "-D %s %s\n", r.chain, r.args)
	}
	for _, c := range want.Chains {
		for _, r := range c.Rules {
			fmt.Fprintf(b, "-A %s %s\n", c.Name, r.Args())
		}
	}
	for _, h := range want.Hooks {
		fmt.Fprintf(b, "-A %s %s\n", h.Point, h.Rule.Args())
	}
	for _, c := range stale {
		fmt.Fprintf(b, "-X %s\n", c)
	}
	b.WriteString("COMMIT\n")
}
