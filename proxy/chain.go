package proxy

import (
	"context"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls"
)

// Transport protocols that inspectors detect and chains ask for.
const (
	TransportTLS = "tls"
	TransportRaw = "raw_buffer"
)

// SourceType narrows a chain to connections from the same machine or from others.
type SourceType uint8

// The source types of Envoy's filter_chain_match.
const (
	SourceAny SourceType = iota
	SourceLocal
	SourceExternal
)

// Criteria is what a connection must have for a chain to be chosen. An empty
// field asks for nothing.
type Criteria struct {
	DestinationPort     uint16
	DestinationPrefixes []netip.Prefix
	// ServerNames are lower case, exact or of the form "*.example.com".
	ServerNames          []string
	TransportProtocol    string
	ApplicationProtocols []string
	DirectSourcePrefixes []netip.Prefix
	SourceType           SourceType
	SourcePrefixes       []netip.Prefix
	SourcePorts          []uint16
}

// Chain is one compiled filter chain. Its pointer is its identity: while the
// bytes that it was compiled from stay the same, the compiler publishes the same
// pointer, and connections on it are not disturbed.
type Chain struct {
	Name     string
	Criteria Criteria
	// TLS ends TLS sessions; nil hands the bytes on as they come.
	TLS *mtls.Server
	// HandshakeTimeout bounds the TLS handshake; 0 means 15 seconds.
	HandshakeTimeout time.Duration
	Filters          []ConnFilter
	Handler          ConnHandler
	// Digest identifies the bytes that the chain was compiled from.
	Digest uint64
}

// ConnFilter is a policy on whole connections. An error closes the connection; its
// text becomes the record's Termination, or what a Refusal says.
type ConnFilter interface {
	Accept(*flow.Conn) error
}

// Refusal is the error of a ConnFilter that a policy made.
type Refusal struct {
	// Policy is the policy's name, or empty where the lack of one decided.
	Policy string
	// Details becomes the record's Termination.
	Details string
}

// Error returns the details.
func (r *Refusal) Error() string { return r.Details }

// ConnHandler serves a connection until its end. The context is cancelled when
// the connection must go at once. ServeConn need not close the connection.
type ConnHandler interface {
	ServeConn(ctx context.Context, c *Conn)
}

// Facts are what a chain is chosen by.
type Facts struct {
	Destination  netip.AddrPort
	Source       netip.AddrPort
	DirectSource netip.Addr
	// Local is set where source and destination are the same machine.
	Local bool
	// ServerName is lower case.
	ServerName string
	// Transport is TransportTLS or TransportRaw.
	Transport string
	// ALPN is what the ClientHello offered, in its order, or the one protocol
	// that the HTTP inspector found.
	ALPN []string
}
