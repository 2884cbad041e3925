package xds

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/outrigger-mesh/outrigger/xds/slab"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// hostType is the type name of what a RouteConfiguration is split into.
const hostType = "envoy.config.route.v3.VirtualHost"

// host is one virtual host of a RouteConfiguration.
type host struct {
	id    uint64 // changes with the meaning, not with the bytes
	name  uint64 // hash
	bytes uint64 // hash
	free  uint64 // order-free hash, 0 while nobody needed it
	at    slab.Ref
	raw   uint32
	// shared is for the writer: the record is also that of the version before, or after, this one.
	shared bool
}

// domain is one entry of the domain index.
type domain struct {
	hash uint64
	host int32
}

// run is a piece of a RouteConfiguration as received: so many bytes of other fields, then so many virtual hosts.
type run struct {
	rest, hosts uint32
}

// routeHosts is one RouteConfiguration apart from its other fields: immutable once published, except for moved records
// and hashes computed later.
type routeHosts struct {
	hosts  []host
	layout []run
	exact  []domain
	suffix wildcards // "*.suffix", by what follows the star
	prefix wildcards // "prefix.*", by what precedes it
	any    int32     // the host with the domain "*", or -1
}

// wildcards are the domains with one star at the same end.
type wildcards struct {
	domains []domain
	lengths []int // of the text beside the star, longest first
}

func (ws *wildcards) add(hash uint64, length, host int) {
	ws.domains = append(ws.domains, domain{hash, int32(host)})
	if i, ok := slices.BinarySearchFunc(ws.lengths, length, func(a, b int) int { return cmp.Compare(b, a) }); !ok {
		ws.lengths = slices.Insert(ws.lengths, i, length)
	}
}

// index adds the domains of a virtual host; lower is scratch.
func (rh *routeHosts) index(c *wire.Checker, i int, body, lower []byte) []byte {
	wire.Domains(body, func(d []byte) {
		lower = wire.AppendLower(lower[:0], d)
		switch {
		case len(lower) == 1 && lower[0] == '*':
			rh.any = int32(i)
		case len(lower) > 0 && lower[0] == '*':
			rh.suffix.add(c.Hash(lower[1:]), len(lower)-1, i)
		case len(lower) > 0 && lower[len(lower)-1] == '*':
			rh.prefix.add(c.Hash(lower[:len(lower)-1]), len(lower)-1, i)
		default:
			rh.exact = append(rh.exact, domain{c.Hash(lower), int32(i)})
		}
	})
	return lower
}

// sort makes the index searchable.
func (rh *routeHosts) sort() {
	for _, ds := range []*[]domain{&rh.exact, &rh.suffix.domains, &rh.prefix.domains} {
		slices.SortFunc(*ds, func(a, b domain) int { return cmp.Compare(a.hash, b.hash) })
		*ds = slices.Clip(*ds)
	}
}

// at calls use with each host whose entry has this hash, until it says that it was the right one.
func at(ds []domain, hash uint64, use func(host int) bool) bool {
	i, _ := slices.BinarySearchFunc(ds, hash, func(d domain, h uint64) int { return cmp.Compare(d.hash, h) })
	for ; i < len(ds) && ds[i].hash == hash; i++ {
		if use(int(ds[i].host)) {
			return true
		}
	}
	return false
}

// search finds the virtual host for a lower-cased host name in Envoy's order: exact, longest suffix, longest prefix,
// then "*". verify says whether a virtual host really has a domain, so that a hash collision cannot mis-route.
func (rh *routeHosts) search(c *wire.Checker, name string, verify func(host int, before, after string) bool) int {
	found := -1
	check := func(before, after string) func(int) bool {
		return func(i int) bool {
			if verify(i, before, after) {
				found = i
			}
			return found >= 0
		}
	}
	if at(rh.exact, c.HashString(name), check(name, "")) {
		return found
	}
	for _, n := range rh.suffix.lengths {
		if n < len(name) {
			end := name[len(name)-n:]
			if at(rh.suffix.domains, c.HashString(end), check("*", end)) {
				return found
			}
		}
	}
	for _, n := range rh.prefix.lengths {
		if n < len(name) {
			start := name[:n]
			if at(rh.prefix.domains, c.HashString(start), check(start, "*")) {
				return found
			}
		}
	}
	return int(rh.any)
}

// hasDomain reports whether a virtual host lists the domain before+after, whatever the case of its letters.
func hasDomain(body []byte, before, after string) bool {
	found := false
	wire.Domains(body, func(d []byte) {
		found = found || len(d) == len(before)+len(after) &&
			equalLower(d[:len(before)], before) && equalLower(d[len(before):], after)
	})
	return found
}

// equalLower compares with a text that is in small letters already.
func equalLower(b []byte, lower string) bool {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// split takes a RouteConfiguration apart: rest is appended with the fields beside the virtual hosts.
func split(body, rest []byte, use func(body []byte) error) ([]byte, []run, error) {
	layout := []run{{}}
	var failed error
	err := wire.VirtualHosts(body, func(h []byte) bool {
		layout[len(layout)-1].hosts++
		failed = use(h)
		return failed == nil
	}, func(raw []byte) {
		if layout[len(layout)-1].hosts > 0 {
			layout = append(layout, run{})
		}
		layout[len(layout)-1].rest += uint32(len(raw))
		rest = append(rest, raw...)
	})
	if err == nil {
		err = failed
	}
	return rest, slices.Clip(layout), err
}

// appendVarint appends a base-128 number in its shortest form.
func appendVarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// appendHost appends a virtual host as field 2 of a RouteConfiguration.
func appendHost(dst, body []byte) []byte {
	dst = append(dst, 2<<3|2)
	dst = appendVarint(dst, uint64(len(body)))
	return append(dst, body...)
}

// canonical reports whether joining what split took apart gives the same bytes again.
func canonical(body []byte) bool {
	ok := true
	c := wire.Cursor{Rest: body}
	var head []byte
	for c.Next() {
		if c.Num == 2 {
			head = appendVarint(append(head[:0], 2<<3|2), uint64(len(c.Val)))
			ok = ok && bytes.Equal(c.Raw[:len(c.Raw)-len(c.Val)], head)
		}
	}
	return ok
}
