package testmesh

import (
	"fmt"
	"net/netip"
	"strings"
)

// ManyServices returns the YAML of n services of HTTP with that many endpoints
// each, all in namespace "many": service-0.many.svc.cluster.local and so on, on
// port 8080. Nothing listens on the addresses; they are there for their number.
func ManyServices(n, endpointsPer int) string {
	var b strings.Builder
	vip, end := netip.AddrFrom4([4]byte{10, 128, 0, 1}), netip.AddrFrom4([4]byte{10, 192, 0, 1})
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: service-%d, namespace: many }
spec:
  hosts: [service-%d.many.svc.cluster.local]
  addresses: [%s]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  endpoints:
`, i, i, vip)
		vip = vip.Next()
		for range endpointsPer {
			fmt.Fprintf(&b, "  - { address: %s, labels: { app: service-%d, security.istio.io/tlsMode: istio } }\n", end, i)
			end = end.Next()
		}
	}
	return b.String()
}
