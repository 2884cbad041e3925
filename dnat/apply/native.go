package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// socketBuffer holds the acknowledgements of a large plan: the kernel sends one per message before we read any.
const socketBuffer = 4 << 20

// netlinkTimeout bounds a whole run: after a refused message the kernel may owe acknowledgements it never sends.
const netlinkTimeout = 10 * time.Second

// istioTables are what Istio's nftables backend writes, family inet.
var istioTables = []string{"istio-proxy-nat", "istio-proxy-mangle", "istio-proxy-raw"}

// native is the capture as nf_tables has it now.
type native struct {
	conn   *nftables.Conn
	tables []*nftables.Table
	chains []*nftables.Chain
}

func openNative() (*native, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer), c.SetDeadline(time.Now().Add(netlinkTimeout)))
	}))
	if err != nil {
		return nil, explainNetlink("open nf_tables", err)
	}
	n := &native{conn: conn}
	if n.tables, err = conn.ListTables(); err == nil {
		n.chains, err = conn.ListChains()
	}
	if err != nil {
		if !errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: %w", ErrUnsupported, err) // EINVAL or EOPNOTSUPP: no such subsystem
		}
		return nil, errors.Join(explainNetlink("list nf_tables", err), conn.CloseLasting())
	}
	return n, nil
}

// swapNative brings nf_tables to the plan in one transaction for all tables of both families, and removes in the
// same transaction what iptables-nft or Istio left there.
func swapNative(plan *dnat.Plan, force bool) (changed bool, err error) {
	n, err := openNative()
	if err != nil {
		if plan.Empty() && errors.Is(err, ErrUnsupported) {
			return false, nil
		}
		return false, err
	}
	defer func() { err = errors.Join(err, n.conn.CloseLasting()) }()

	foreign, err := n.dropForeign(true)
	if err != nil {
		return false, err
	}
	same, err := n.equal(plan)
	if err != nil {
		return false, err
	}
	if same && !foreign && (!force || plan.Empty()) {
		return false, nil
	}
	n.dropOwn()
	for _, f := range plan.Families {
		for _, t := range f.Tables {
			n.add(&t, f.Family, plan.Marker())
		}
	}
	if err := n.conn.Flush(); err != nil {
		return false, explainNetlink("write nf_tables", err)
	}
	return true, nil
}

// removeNative takes our own and Istio's nftables tables out, and with all also the chains of iptables-nft.
func removeNative(all bool) (changed bool, err error) {
	n, err := openNative()
	if err != nil {
		if errors.Is(err, ErrUnsupported) {
			return false, nil
		}
		return false, err
	}
	defer func() { err = errors.Join(err, n.conn.CloseLasting()) }()
	changed = n.dropOwn()
	foreign, err := n.dropForeign(all)
	if err != nil {
		return false, err
	}
	if err := n.conn.Flush(); err != nil {
		return false, explainNetlink("remove old nf_tables rules", err)
	}
	return changed || foreign, nil
}

func ownTable(t *nftables.Table) bool { return strings.HasPrefix(t.Name, dnat.NFTTablePrefix) }

func (n *native) dropOwn() bool {
	found := false
	for _, t := range n.tables {
		if ownTable(t) {
			n.conn.DelTable(t)
			found = true
		}
	}
	return found
}

// dropForeign queues the removal of captures written by other tools. Chains of iptables-nft are ordinary chains.
func (n *native) dropForeign(iptables bool) (bool, error) {
	found := false
	for _, t := range n.tables {
		if t.Family == nftables.TableFamilyINet && slices.Contains(istioTables, t.Name) {
			n.conn.DelTable(t)
			found = true
		}
	}
	if !iptables {
		return found, nil
	}
	for _, t := range n.tables {
		ip := t.Family == nftables.TableFamilyIPv4 || t.Family == nftables.TableFamilyIPv6
		if !ip || !slices.Contains([]string{dnat.TableRaw, dnat.TableMangle, dnat.TableNAT}, t.Name) {
			continue
		}
		dropped, err := n.dropChains(t)
		if err != nil {
			return false, err
		}
		found = found || dropped
	}
	return found, nil
}

// dropChains queues the removal of the capture's chains in a table of iptables-nft, jumps first.
func (n *native) dropChains(t *nftables.Table) (bool, error) {
	var ours, others []*nftables.Chain
	marked := false
	for _, c := range n.chains {
		switch {
		case c.Table.Name != t.Name || c.Table.Family != t.Family:
		case owned(c.Name):
			ours = append(ours, c)
			marked = marked || strings.HasPrefix(c.Name, dnat.MarkerPrefix)
		default:
			others = append(others, c)
		}
	}
	if len(ours) == 0 {
		return false, nil
	}
	for _, c := range others {
		rules, err := n.conn.GetRules(t, c)
		if err != nil {
			return false, explainNetlink("list rules of "+t.Name, err)
		}
		for _, r := range rules {
			if !entersCapture(r) && (marked || !interfaceReturn(c, r)) {
				continue
			}
			r.Table, r.Chain = t, c
			if err := n.conn.DelRule(r); err != nil {
				return false, fmt.Errorf("delete rule of %s: %w", t.Name, err)
			}
		}
	}
	for _, c := range ours {
		n.conn.FlushChain(c)
	}
	for _, c := range ours {
		n.conn.DelChain(c)
	}
	return true, nil
}

func entersCapture(r *nftables.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		v, ok := e.(*expr.Verdict)
		return ok && (v.Kind == expr.VerdictJump || v.Kind == expr.VerdictGoto) && owned(v.Chain)
	})
}

// interfaceReturn recognises Istio's rule for an excluded interface: name, counter, RETURN, nothing else.
func interfaceReturn(c *nftables.Chain, r *nftables.Rule) bool {
	if c.Name != dnat.HookPrerouting && c.Name != dnat.HookOutput || len(r.Exprs) > 4 {
		return false
	}
	name, leaves := false, false
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			name = e.Key == expr.MetaKeyIIFNAME || e.Key == expr.MetaKeyOIFNAME
		case *expr.Verdict:
			leaves = e.Kind == expr.VerdictReturn
		case *expr.Cmp, *expr.Counter:
		default:
			return false
		}
	}
	return name && leaves
}

// add queues a table of the plan.
func (n *native) add(t *dnat.Table, family dnat.Family, marker string) {
	table := n.conn.AddTable(nativeTable(t, family))
	n.conn.AddChain(&nftables.Chain{Name: dnat.NFTChain(marker), Table: table})
	chains := map[string]*nftables.Chain{}
	for _, c := range t.Chains {
		chains[c.Name] = n.conn.AddChain(&nftables.Chain{Name: dnat.NFTChain(c.Name), Table: table})
	}
	kind := nftables.ChainTypeFilter
	if t.Name == dnat.TableNAT {
		kind = nftables.ChainTypeNAT
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			n.addRule(chains[c.Name], &r, family)
		}
	}
	for _, h := range t.Hooks {
		base := n.conn.AddChain(&nftables.Chain{
			Name: dnat.NFTChain(h.Point), Table: table, Type: kind, Hooknum: hookOf(h.Point),
			Priority: new(nftables.ChainPriority(dnat.NFTPriority(t.Name))),
		})
		n.addRule(base, &h.Rule, family)
	}
}

func nativeTable(t *dnat.Table, family dnat.Family) *nftables.Table {
	f := nftables.TableFamilyIPv4
	if family == dnat.IPv6 {
		f = nftables.TableFamilyIPv6
	}
	return &nftables.Table{Name: dnat.NFTTablePrefix + t.Name, Family: f}
}

func (n *native) addRule(c *nftables.Chain, r *dnat.Rule, family dnat.Family) {
	n.conn.AddRule(&nftables.Rule{
		Table: c.Table, Chain: c, Exprs: exprs(r, family),
		UserData: userdata.AppendString(nil, userdata.TypeComment, r.Reason),
	})
}

// equal compares our tables with the plan: the same tables, the digest, and every rule in order.
func (n *native) equal(plan *dnat.Plan) (bool, error) {
	wanted := 0
	for _, f := range plan.Families {
		for _, t := range f.Tables {
			wanted++
			same, err := n.equalTable(&t, f.Family, plan.Marker())
			if !same || err != nil {
				return false, err
			}
		}
	}
	own := 0
	for _, t := range n.tables {
		if ownTable(t) {
			own++
		}
	}
	return own == wanted, nil
}

func (n *native) equalTable(t *dnat.Table, family dnat.Family, marker string) (bool, error) {
	table := nativeTable(t, family)
	want := map[string][]dnat.Rule{dnat.NFTChain(marker): nil}
	for _, c := range t.Chains {
		want[dnat.NFTChain(c.Name)] = c.Rules
	}
	for _, h := range t.Hooks {
		want[dnat.NFTChain(h.Point)] = []dnat.Rule{h.Rule}
	}
	found := 0
	for _, c := range n.chains {
		if c.Table.Name != table.Name || c.Table.Family != table.Family {
			continue
		}
		rules, known := want[c.Name]
		if !known {
			return false, nil
		}
		found++
		got, err := n.conn.GetRules(table, c)
		if err != nil {
			return false, explainNetlink("list rules of "+table.Name, err)
		}
		if !slices.EqualFunc(got, rules, func(g *nftables.Rule, w dnat.Rule) bool { return equalRule(g, &w, family) }) {
			return false, nil
		}
	}
	return found == len(want), nil
}

// equalRule ignores what a counter has counted, and the register of a ct write, which the library does not read back.
func equalRule(got *nftables.Rule, want *dnat.Rule, family dnat.Family) bool {
	return slices.EqualFunc(got.Exprs, exprs(want, family), func(g, w expr.Any) bool {
		switch w := w.(type) {
		case *expr.Counter:
			_, same := g.(*expr.Counter)
			return same
		case *expr.Ct:
			read, same := g.(*expr.Ct)
			return same && read.Key == w.Key
		default:
			return reflect.DeepEqual(g, w)
		}
	})
}
