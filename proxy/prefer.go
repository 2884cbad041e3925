package proxy

import "net/netip"

// preference is the endpoint that a request names.
type preference struct {
	endpoint netip.AddrPort
	strict   bool
}

// Prefer has the first attempt go to an endpoint of the cluster, if there is one of that
// address that may be used; strict requests go nowhere else. Later attempts go by the
// cluster's policy.
func (x *Exchange) Prefer(endpoint netip.AddrPort, strict bool) {
	x.trip.prefer = preference{endpoint, strict}
}
