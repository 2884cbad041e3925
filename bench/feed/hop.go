package feed

import "fmt"

// Protocol is what a hop speaks on both of its sides.
type Protocol uint8

// The protocols of a hop. gRPC is HTTP2.
const (
	HTTP1 Protocol = iota
	HTTP2
	TCP
)

// Role says which half of a pair a hop stands for.
type Role uint8

// The roles of a hop.
const (
	// Outbound is beside the client: routes by RDS, endpoints by EDS, TLS towards
	// the endpoint.
	Outbound Role = iota
	// Inbound is beside the server: routes inline, TLS on the listener.
	Inbound
)

// Hop is one way through one proxy: a listening port and where it leads.
type Hop struct {
	Role     Role
	Protocol Protocol
	// Listen and Upstream are ports of 127.0.0.1.
	Listen, Upstream int
	// TLS is mutual TLS towards the upstream (Outbound) or on the listener (Inbound).
	TLS bool
	// Policy is an ALLOW policy that the requests meet; HTTP only.
	Policy bool
	// Services are how many services nobody calls are configured beside this one,
	// with ten endpoints each; Outbound and HTTP1 only.
	Services int
}

const (
	namespace   = "bench"
	trustDomain = "cluster.local"
	// Host is the name of the service that the hops lead to.
	Host = "echo." + namespace + ".svc.cluster.local"
)

// Account is the service account of a role.
func (r Role) Account() string {
	if r == Inbound {
		return "echo"
	}
	return "client"
}

// SPIFFE is the identity of a role.
func (r Role) SPIFFE() string {
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + r.Account()
}

// Namespace is that of all nodes.
func (r Role) Namespace() string { return namespace }

// cluster is the name that istiod would give to the hop's cluster.
func (h *Hop) cluster() string {
	if h.Role == Inbound {
		return fmt.Sprintf("inbound|%d||", h.Listen)
	}
	return fmt.Sprintf("outbound|%d||%s", h.Listen, Host)
}
