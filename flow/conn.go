package flow

import (
	"net/netip"
	"time"
)

// Direction tells which of the two capture ports a connection came through.
type Direction uint8

// The directions, as Envoy's traffic_direction names them.
const (
	Unspecified Direction = iota
	Inbound
	Outbound
)

// String returns the direction in the lower-case form used in metrics and logs.
func (d Direction) String() string {
	switch d {
	case Inbound:
		return "inbound"
	case Outbound:
		return "outbound"
	default:
		return "unspecified"
	}
}

// Conn is what is known of a downstream connection once its filter chain is
// chosen and its handshake is done. It is immutable from then on.
type Conn struct {
	// ID is unique within the process.
	ID        uint64
	Direction Direction
	Start     time.Time

	// Remote is the downstream's address, Local the one that the kernel gave to
	// our end, OriginalDst the address that the downstream dialled.
	Remote      netip.AddrPort
	Local       netip.AddrPort
	OriginalDst netip.AddrPort

	// Listener and Chain name the configuration that took the connection.
	Listener string
	Chain    string

	TLS TLS
}

// Destination is the address that the downstream meant: the original one where
// the connection was captured, else the local one.
func (c *Conn) Destination() netip.AddrPort {
	if c.OriginalDst.IsValid() {
		return c.OriginalDst
	}
	return c.Local
}

// TLS is what a handshake told. The zero value is a plain-text connection.
type TLS struct {
	// SNI and ALPN are what the ClientHello offered; they are known also where
	// TLS is passed through untouched.
	SNI  string
	ALPN []string

	// Established is true where this process ended the TLS session itself.
	Established bool
	Version     uint16
	CipherSuite uint16
	// Protocol is the negotiated ALPN protocol, or empty.
	Protocol string

	// Failure is why the handshake failed, where it did.
	Failure string

	// Peer is the other end's identity, Own ours.
	Peer Identity
	Own  Identity
}

// Identity is what a certificate says of its holder. The zero value means that no
// certificate was presented.
type Identity struct {
	// URIs are the URI SANs in certificate order; the first SPIFFE one is the
	// principal.
	URIs    []string
	DNS     []string
	Subject string
	// Hash is the lower-case hexadecimal SHA-256 of the certificate's DER bytes.
	Hash     string
	Serial   string
	NotAfter time.Time
}

// Presented reports whether a certificate was shown.
func (i *Identity) Presented() bool { return i.Hash != "" }

// URI is the first URI SAN, or empty.
func (i *Identity) URI() string {
	if len(i.URIs) == 0 {
		return ""
	}
	return i.URIs[0]
}
