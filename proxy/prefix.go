package proxy

import (
	"cmp"
	"net/netip"
	"slices"
)

// prefixLevel maps network prefixes to values and finds the longest that holds an
// address. Istio's listeners carry a handful of prefixes per port, mostly of one
// length, so a map per address and a list of the lengths in use beat a trie.
type prefixLevel[T any] struct {
	byPrefix map[netip.Prefix]T
	v4, v6   []int // lengths in use, longest first
	fresh    func() T
}

func newPrefixLevel[T any](fresh func() T) *prefixLevel[T] {
	return &prefixLevel[T]{byPrefix: map[netip.Prefix]T{}, fresh: fresh}
}

// at finds or makes the value of a prefix.
func (l *prefixLevel[T]) at(p netip.Prefix) T {
	p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
	v, ok := l.byPrefix[p]
	if !ok {
		v = l.fresh()
		l.byPrefix[p] = v
		l.note(p)
	}
	return v
}

func (l *prefixLevel[T]) note(p netip.Prefix) {
	lengths := &l.v6
	if p.Addr().Is4() {
		lengths = &l.v4
	}
	if !slices.Contains(*lengths, p.Bits()) {
		*lengths = append(*lengths, p.Bits())
		slices.SortFunc(*lengths, func(a, b int) int { return cmp.Compare(b, a) })
	}
}

// longest finds the value of the longest prefix that holds the address. An
// invalid address is held by the prefix of length 0 only.
func (l *prefixLevel[T]) longest(a netip.Addr) (T, bool) {
	if !a.IsValid() {
		v, ok := l.byPrefix[netip.PrefixFrom(netip.IPv4Unspecified(), 0)]
		return v, ok
	}
	a = a.Unmap().WithZone("")
	lengths := l.v6
	if a.Is4() {
		lengths = l.v4
	}
	for _, bits := range lengths {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if v, ok := l.byPrefix[p]; ok {
			return v, true
		}
	}
	var none T
	return none, false
}
