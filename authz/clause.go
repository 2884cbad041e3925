package authz

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/outrigger-mesh/outrigger/match"
)

// Clause is one condition, or a combination of some. The zero value matches nothing.
type Clause struct {
	op   op
	kids []Clause
	text *match.String
	// The operand of the kinds that are not about text.
	header   *match.Header
	template *Template
	prefix   netip.Prefix
	low      uint16
	high     uint16 // inclusive
}

type op uint8

const (
	opNever op = iota
	opAny
	opAnd
	opOr
	opNot
	opHeader
	opPath
	opTemplate
	opDestinationIP
	opDestinationPort
	opServerName
	opAuthenticated
	opPeer
	opDirectIP
	opRemoteIP
)

// Any matches everything.
func Any() Clause { return Clause{op: opAny} }

// And matches where all parts do.
func And(parts ...Clause) Clause {
	kept := make([]Clause, 0, len(parts))
	for _, p := range parts {
		switch p.op {
		case opAny:
		case opAnd:
			kept = append(kept, p.kids...)
		default:
			kept = append(kept, p)
		}
	}
	switch len(kept) {
	case 0:
		return Any()
	case 1:
		return kept[0]
	default:
		return Clause{op: opAnd, kids: slices.Clip(kept)}
	}
}

// Or matches where one part does, so nothing if there is none.
func Or(parts ...Clause) Clause {
	kept := make([]Clause, 0, len(parts))
	for _, p := range parts {
		switch p.op {
		case opAny:
			return p
		case opNever:
		case opOr:
			kept = append(kept, p.kids...)
		default:
			kept = append(kept, p)
		}
	}
	switch len(kept) {
	case 0:
		return Clause{}
	case 1:
		return kept[0]
	default:
		return Clause{op: opOr, kids: slices.Clip(kept)}
	}
}

// Not matches where the part does not.
func Not(part Clause) Clause {
	if part.op == opNot {
		return part.kids[0]
	}
	return Clause{op: opNot, kids: []Clause{part}}
}

// Header matches by one of the request's headers, pseudo headers among them.
func Header(h match.Header) Clause { return Clause{op: opHeader, header: &h} }

// Path matches the request's path without its query.
func Path(text match.String) Clause { return Clause{op: opPath, text: &text} }

// PathTemplate matches the request's path without its query.
func PathTemplate(t *Template) Clause { return Clause{op: opTemplate, template: t} }

// DestinationIP matches the address that the downstream meant.
func DestinationIP(p netip.Prefix) Clause { return Clause{op: opDestinationIP, prefix: p.Masked()} }

// DestinationPorts matches the port that the downstream meant, both ends included.
func DestinationPorts(low, high uint16) (Clause, error) {
	if low > high {
		return Clause{}, fmt.Errorf("%w: no port is from %d to %d", ErrPolicy, low, high)
	}
	return Clause{op: opDestinationPort, low: low, high: high}, nil
}

// ServerName matches the SNI; that of a connection in plain text is empty.
func ServerName(text match.String) Clause { return Clause{op: opServerName, text: &text} }

// Authenticated matches the peer of a TLS session that ended here, by one of its URI
// or DNS names or by its subject. A nil text takes every peer of such a session,
// with or without a certificate, as Envoy does.
func Authenticated(text *match.String) Clause { return Clause{op: opAuthenticated, text: text} }

// Peer matches the identity of a TLS session's peer: the first URI of a certificate
// that was presented and verified.
func Peer(text match.String) Clause { return Clause{op: opPeer, text: &text} }

// DirectIP matches the address at the other end of the connection.
func DirectIP(p netip.Prefix) Clause { return Clause{op: opDirectIP, prefix: p.Masked()} }

// RemoteIP matches Facts.Remote.
func RemoteIP(p netip.Prefix) Clause { return Clause{op: opRemoteIP, prefix: p.Masked()} }

// match decides. The facts stay on the caller's stack since nothing is called
// through an interface.
func (c *Clause) match(f *Facts) bool {
	switch c.op {
	case opAny:
		return true
	case opAnd:
		return c.all(f)
	case opOr:
		return c.some(f)
	case opNot:
		return !c.kids[0].match(f)
	case opHeader:
		return f.Request != nil && c.header.Match(f.Request)
	case opPath:
		path, ok := f.pathOnly()
		return ok && c.text.Match(path)
	case opTemplate:
		path, ok := f.pathOnly()
		return ok && c.template.Match(path)
	case opNever:
		return false
	default:
		return c.matchConn(f)
	}
}

func (c *Clause) all(f *Facts) bool {
	for i := range c.kids {
		if !c.kids[i].match(f) {
			return false
		}
	}
	return true
}

func (c *Clause) some(f *Facts) bool {
	for i := range c.kids {
		if c.kids[i].match(f) {
			return true
		}
	}
	return false
}

// matchConn is the part of match that looks at the connection.
func (c *Clause) matchConn(f *Facts) bool {
	switch c.op {
	case opDestinationIP:
		return c.prefix.Contains(f.Conn.Destination().Addr().Unmap())
	case opDestinationPort:
		port := f.Conn.Destination().Port()
		return c.low <= port && port <= c.high
	case opServerName:
		return c.text.Match(f.Conn.TLS.SNI)
	case opAuthenticated:
		return c.authenticated(f)
	case opPeer:
		tls := &f.Conn.TLS
		return tls.Established && len(tls.Peer.URIs) > 0 && c.text.Match(tls.Peer.URIs[0])
	case opDirectIP:
		return c.prefix.Contains(f.Conn.Remote.Addr().Unmap())
	case opRemoteIP:
		return c.prefix.Contains(f.Remote.Unmap())
	default:
		return false
	}
}

func (c *Clause) authenticated(f *Facts) bool {
	tls := &f.Conn.TLS
	if !tls.Established {
		return false
	}
	if c.text == nil {
		return true
	}
	return slices.ContainsFunc(tls.Peer.URIs, c.text.Match) || slices.ContainsFunc(tls.Peer.DNS, c.text.Match) || c.text.Match(tls.Peer.Subject)
}

func (c *Clause) looksAtHeaders() bool {
	return c.op == opHeader || slices.ContainsFunc(c.kids, func(k Clause) bool { return k.looksAtHeaders() })
}
