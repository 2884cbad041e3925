package compile

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/outrigger-mesh/outrigger/lb"
)

// endpoints compiles a load assignment of addresses.
func endpoints(s scope, cla *endpointv3.ClusterLoadAssignment) []lb.EndpointSpec {
	var out []lb.EndpointSpec
	eachEndpoint(s, cla, func(s scope, address *corev3.Address, spec lb.EndpointSpec) {
		if pipe := address.GetPipe(); pipe != nil {
			spec.Name = pipe.GetPath()
			out = append(out, spec)
			return
		}
		var ok bool
		if spec.Addr, ok = socketAddress(s, address); ok {
			out = append(out, spec)
		}
	})
	return out
}

// eachEndpoint gives each endpoint of a load assignment, with all but its address.
func eachEndpoint(s scope, cla *endpointv3.ClusterLoadAssignment, do func(scope, *corev3.Address, lb.EndpointSpec)) {
	for i, group := range cla.GetEndpoints() {
		gs := s.at("endpoints", i)
		for j, e := range group.GetLbEndpoints() {
			do(gs.at("lb_endpoints", j).in("endpoint.address"), e.GetEndpoint().GetAddress(), lb.EndpointSpec{
				Hostname: e.GetEndpoint().GetHostname(),
				Weight:   number(e.GetLoadBalancingWeight(), 1),
				Health:   health(e.GetHealthStatus()),
				Priority: group.GetPriority(),
				Locality: localityKey(group.GetLocality()), LocalityWeight: group.GetLoadBalancingWeight().GetValue(),
				HashKey:  e.GetMetadata().GetFilterMetadata()["envoy.lb"].GetFields()["hash_key"].GetStringValue(),
				Match:    socketMatch(e.GetMetadata()),
				Workload: e.GetMetadata().GetFilterMetadata()["istio"].GetFields()["workload"].GetStringValue(),
			})
		}
	}
}

func health(h corev3.HealthStatus) lb.Health {
	switch h {
	case corev3.HealthStatus_HEALTHY:
		return lb.Healthy
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_TIMEOUT:
		return lb.Unhealthy
	case corev3.HealthStatus_DRAINING:
		return lb.Draining
	case corev3.HealthStatus_DEGRADED:
		return lb.Degraded
	case corev3.HealthStatus_UNKNOWN:
	}
	return lb.Unknown
}

// socketMatch is the metadata that chooses an endpoint's transport socket.
func socketMatch(m *corev3.Metadata) map[string]string {
	fields := m.GetFilterMetadata()["envoy.transport_socket_match"].GetFields()
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(fields))
	for k, v := range fields {
		out[k] = v.GetStringValue()
	}
	return out
}

func localityKey(l *corev3.Locality) string {
	if l == nil {
		return ""
	}
	return l.GetRegion() + "/" + l.GetZone() + "/" + l.GetSubZone()
}

// socketAddress converts an IP address with a port.
func socketAddress(s scope, a *corev3.Address) (netip.AddrPort, bool) {
	sa := a.GetSocketAddress()
	if sa == nil {
		s.fail("only socket addresses are supported")
		return netip.AddrPort{}, false
	}
	ap, err := addrPort(sa)
	return ap, s.check(err)
}

func addrPort(sa *corev3.SocketAddress) (netip.AddrPort, error) {
	if sa.GetProtocol() != corev3.SocketAddress_TCP {
		return netip.AddrPort{}, fmt.Errorf("protocol %v is not supported", sa.GetProtocol())
	}
	ip, err := netip.ParseAddr(sa.GetAddress())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q is not an IP address", sa.GetAddress())
	}
	port := sa.GetPortValue()
	if port > 65535 || sa.GetNamedPort() != "" {
		return netip.AddrPort{}, fmt.Errorf("port %d%s is not a port number", port, sa.GetNamedPort())
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
}
