package proxy

import (
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
)

// ListenerSpec is the immutable configuration of a listener.
type ListenerSpec struct {
	Name      string
	Direction flow.Direction
	Address   netip.AddrPort
	// Bind is false for listeners that take handed-over connections only.
	Bind bool
	// Captured says that connections come by REDIRECT or TPROXY: the original
	// destination is asked for, and a connection that has none, or that dials the
	// listener itself, is refused.
	Captured bool
	// UseOriginalDst hands connections to the listener of their original
	// destination, where there is one. It implies Captured.
	UseOriginalDst bool
	// Transparent: the local address of a socket is its original destination.
	Transparent bool
	Inspect     Inspect
	Chains      *ChainSet
	// DrainTime is how long connections on removed chains may live on.
	DrainTime time.Duration
	// Observers get the records of connections that found no chain.
	Observers []flow.Observer
}

// Inspect says which inspectors look at the first bytes of a connection.
type Inspect struct {
	TLS, HTTP bool
	// TLSDisabled and HTTPDisabled report the destination ports for which an
	// inspector is off; nil means none.
	TLSDisabled  func(port uint16) bool
	HTTPDisabled func(port uint16) bool
	// Timeout bounds the inspectors. Zero is Envoy's "wait for ever"; see sniff.go
	// for the bound that remains.
	Timeout time.Duration
	// ContinueOnTimeout goes on with what is known when Timeout has passed, instead
	// of closing.
	ContinueOnTimeout bool
}
