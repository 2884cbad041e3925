package dnat

import (
	"net/netip"
)

// Mode is the way inbound connections reach the proxy.
type Mode string

// The interception modes of Istio.
const (
	ModeRedirect Mode = "REDIRECT"
	ModeTProxy   Mode = "TPROXY"
	ModeNone     Mode = "NONE"
)

// Config holds every input of a plan.
type Config struct {
	Mode     Mode
	IPv6     bool // IPv4 rules are always planned
	Ports    CapturePorts
	Proxy    Identity
	Inbound  Inbound
	Outbound Outbound
	DNS      DNS

	// ExcludedInterfaces are left alone in both directions.
	ExcludedInterfaces []string
	// VirtualInterfaces lead to a guest (a VM, a container in the pod): what arrives there is outbound traffic.
	VirtualInterfaces []string
	// DropInvalid drops packets conntrack calls invalid, which the kernel would otherwise answer with a reset.
	DropInvalid bool
}

// CapturePorts are the ports the proxy listens on.
type CapturePorts struct {
	Outbound uint16
	Inbound  uint16
	Tunnel   uint16 // HBONE: reached directly, never redirected
	DNS      uint16
}

// Identity is the set of user and group ids the proxy may run as. A process with any of them is the proxy.
type Identity struct {
	UIDs []uint32
	GIDs []uint32
}

// Inbound selects connections to the pod.
type Inbound struct {
	All          bool
	Ports        []uint16 // ignored with All
	ExcludePorts []uint16 // heeded with All only, as Istio does
}

// Outbound selects connections from the pod.
type Outbound struct {
	All           bool
	CIDRs         []netip.Prefix // ignored with All
	ExcludeCIDRs  []netip.Prefix
	Ports         []uint16 // captured whatever their address, unless excluded
	ExcludePorts  []uint16
	Groups        []uint32 // if not empty, only processes of these groups are captured
	ExcludeGroups []uint32
	Loopback      netip.Prefix // destinations between containers of the pod, IPv4; 127.0.0.1/32
}

// DNS selects queries that go to the proxy's own resolver.
type DNS struct {
	Redirect   bool
	CaptureAll bool         // whatever server is asked
	Servers    []netip.Addr // otherwise: these
}

// DefaultConfig is what Istio's flags mean when none is given: the standard ports and ids, and nothing captured.
func DefaultConfig() Config {
	return Config{
		Mode:     ModeRedirect,
		Ports:    CapturePorts{Outbound: 15001, Inbound: 15006, Tunnel: 15008, DNS: 15053},
		Proxy:    Identity{UIDs: []uint32{1337}, GIDs: []uint32{1337}},
		Outbound: Outbound{Loopback: netip.MustParsePrefix("127.0.0.1/32")},
	}
}
