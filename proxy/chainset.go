package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrDuplicateChain is reported where two chains ask for exactly the same.
var ErrDuplicateChain = errors.New("multiple filter chains with the same matching rules")

// ChainSet is an immutable index of chains. Match descends through it level by
// level, as Envoy's filter chain manager does: on each level the most specific
// key that fits is taken, and a dead end further down leads to the default chain
// and never back up to the next best key.
type ChainSet struct {
	ports    map[uint16]*prefixLevel[*nameLevel]
	all      []*Chain
	fallback *Chain
}

// nameLevel chooses by server name: exact, then the longest wildcard, then none.
type nameLevel struct {
	exact    map[string]*transportLevel
	wildcard map[string]*transportLevel // keyed ".example.com"
	any      *transportLevel
}

// transportLevel chooses by transport protocol: exact, then none.
type transportLevel map[string]*alpnLevel

// alpnLevel chooses by application protocol in the client's order, then none.
type alpnLevel map[string]*prefixLevel[*sourceTypeLevel]

// sourceTypeLevel chooses by source type; a local or external key that is
// present keeps the "any" key from being tried.
type sourceTypeLevel [3]*prefixLevel[sourcePortLevel]

// sourcePortLevel chooses by source port; 0 is any.
type sourcePortLevel map[uint16]*Chain

// NewChainSet indexes chains. def, which may be nil, serves what no chain takes.
func NewChainSet(chains []*Chain, def *Chain) (*ChainSet, error) {
	s := &ChainSet{ports: map[uint16]*prefixLevel[*nameLevel]{}, fallback: def}
	for _, c := range chains {
		if err := s.add(c); err != nil {
			return nil, fmt.Errorf("filter chain %q: %w", c.Name, err)
		}
		s.all = append(s.all, c)
	}
	if def != nil {
		s.all = append(s.all, def)
	}
	return s, nil
}

// Chains lists all chains, the default one last.
func (s *ChainSet) Chains() []*Chain {
	if s == nil {
		return nil
	}
	return s.all
}

// Has reports whether c is one of the set's chains.
func (s *ChainSet) Has(c *Chain) bool { return slices.Contains(s.Chains(), c) }

// Match finds the chain for a connection, or nil. A nil set has no chain.
func (s *ChainSet) Match(f *Facts) *Chain {
	if s == nil {
		return nil
	}
	if c := s.find(f); c != nil {
		return c
	}
	return s.fallback
}

func (s *ChainSet) find(f *Facts) *Chain {
	ips, ok := s.ports[f.Destination.Port()]
	if !ok {
		if ips, ok = s.ports[0]; !ok {
			return nil
		}
	}
	names, ok := ips.longest(f.Destination.Addr())
	if !ok {
		return nil
	}
	transports := names.match(f.ServerName)
	if transports == nil {
		return nil
	}
	alpns, ok := (*transports)[f.Transport]
	if !ok {
		if alpns, ok = (*transports)[""]; !ok {
			return nil
		}
	}
	direct := alpns.match(f.ALPN)
	if direct == nil {
		return nil
	}
	types, ok := direct.longest(f.DirectSource)
	if !ok {
		return nil
	}
	return types.match(f)
}

func (l *nameLevel) match(name string) *transportLevel {
	if name != "" {
		if t, ok := l.exact[name]; ok {
			return t
		}
		if len(l.wildcard) > 0 {
			for i := 1; i < len(name); i++ {
				if name[i] != '.' {
					continue
				}
				if t, ok := l.wildcard[name[i:]]; ok {
					return t
				}
			}
		}
	}
	return l.any
}

func (l *alpnLevel) match(offered []string) *prefixLevel[*sourceTypeLevel] {
	for _, p := range offered {
		if p == "" {
			continue
		}
		if next, ok := (*l)[p]; ok {
			return next
		}
	}
	return (*l)[""]
}

func (l *sourceTypeLevel) match(f *Facts) *Chain {
	want := SourceExternal
	if f.Local {
		want = SourceLocal
	}
	ips := l[want]
	if ips == nil {
		ips = l[SourceAny]
	}
	if ips == nil {
		return nil
	}
	ports, ok := ips.longest(f.Source.Addr())
	if !ok {
		return nil
	}
	if c, ok := ports[f.Source.Port()]; ok {
		return c
	}
	return ports[0]
}

// add enters a chain under every combination of its criteria.
func (s *ChainSet) add(c *Chain) error {
	cr := &c.Criteria
	ips := s.ports[cr.DestinationPort]
	if ips == nil {
		ips = newPrefixLevel(newNameLevel)
		s.ports[cr.DestinationPort] = ips
	}
	for _, p := range prefixesOrAny(cr.DestinationPrefixes) {
		if err := ips.at(p).add(c); err != nil {
			return err
		}
	}
	return nil
}

func newNameLevel() *nameLevel {
	return &nameLevel{exact: map[string]*transportLevel{}, wildcard: map[string]*transportLevel{}}
}

func (l *nameLevel) add(c *Chain) error {
	for _, name := range stringsOrAny(c.Criteria.ServerNames) {
		t, err := l.at(name)
		if err != nil {
			return err
		}
		if err := t.add(c); err != nil {
			return err
		}
	}
	return nil
}

// at finds or makes the entry of a server name as configured.
func (l *nameLevel) at(name string) (*transportLevel, error) {
	name = strings.ToLower(name)
	into := l.exact
	switch {
	case name == "" || name == "*":
		if l.any == nil {
			l.any = &transportLevel{}
		}
		return l.any, nil
	case strings.HasPrefix(name, "*."):
		name, into = name[1:], l.wildcard
	}
	if strings.Contains(name, "*") {
		return nil, fmt.Errorf("partial wildcards are not supported in server name %q", name)
	}
	if into[name] == nil {
		into[name] = &transportLevel{}
	}
	return into[name], nil
}

func (l *transportLevel) add(c *Chain) error {
	alpns := (*l)[c.Criteria.TransportProtocol]
	if alpns == nil {
		alpns = &alpnLevel{}
		(*l)[c.Criteria.TransportProtocol] = alpns
	}
	for _, proto := range stringsOrAny(c.Criteria.ApplicationProtocols) {
		direct := (*alpns)[proto]
		if direct == nil {
			direct = newPrefixLevel(func() *sourceTypeLevel { return &sourceTypeLevel{} })
			(*alpns)[proto] = direct
		}
		for _, p := range prefixesOrAny(c.Criteria.DirectSourcePrefixes) {
			if err := direct.at(p).add(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *sourceTypeLevel) add(c *Chain) error {
	if int(c.Criteria.SourceType) >= len(l) {
		return fmt.Errorf("unknown source type %d", c.Criteria.SourceType)
	}
	ips := l[c.Criteria.SourceType]
	if ips == nil {
		ips = newPrefixLevel(func() sourcePortLevel { return sourcePortLevel{} })
		l[c.Criteria.SourceType] = ips
	}
	for _, p := range prefixesOrAny(c.Criteria.SourcePrefixes) {
		ports := ips.at(p)
		want := c.Criteria.SourcePorts
		if len(want) == 0 {
			want = []uint16{0}
		}
		for _, port := range want {
			if ports[port] != nil {
				return fmt.Errorf("%w as %q", ErrDuplicateChain, ports[port].Name)
			}
			ports[port] = c
		}
	}
	return nil
}

func stringsOrAny(s []string) []string {
	if len(s) == 0 {
		return []string{""}
	}
	return s
}

// prefixesOrAny is the given prefixes, or the two that hold every address.
func prefixesOrAny(p []netip.Prefix) []netip.Prefix {
	if len(p) == 0 {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	return p
}
