package compile

import (
	"net/netip"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/resolve"
)

// names are the endpoints of a cluster that have names, and what became of them.
type names struct {
	targets  []target
	schedule resolve.Schedule
	watch    *resolve.Watch
}

// target is one endpoint with a name; its spec lacks the address.
type target struct {
	host string
	port uint16
	spec lb.EndpointSpec
}

// clusterNames compiles the load assignment of a DNS cluster; nil where the cluster
// is of another type.
func clusterNames(s scope, m *clusterv3.Cluster) *names {
	n := &names{schedule: resolve.Schedule{
		Family: lookupFamily(m.GetDnsLookupFamily()), Refresh: duration(m.GetDnsRefreshRate(), resolve.DefaultRefresh),
		RespectTTL: m.GetRespectDnsTtl(), Jitter: duration(m.GetDnsJitter(), 0),
		FailureBase: duration(m.GetDnsFailureRefreshRate().GetBaseInterval(), 0),
		FailureMax:  duration(m.GetDnsFailureRefreshRate().GetMaxInterval(), 0),
		First:       m.GetType() == clusterv3.Cluster_LOGICAL_DNS,
	}}
	if !n.schedule.First && m.GetType() != clusterv3.Cluster_STRICT_DNS {
		return nil
	}
	s = s.in("load_assignment")
	eachEndpoint(s, m.GetLoadAssignment(), func(s scope, address *corev3.Address, spec lb.EndpointSpec) {
		sa := address.GetSocketAddress()
		switch {
		case sa.GetAddress() == "":
			s.fail("only socket addresses are supported")
		case sa.GetProtocol() != corev3.SocketAddress_TCP:
			s.fail("protocol %v is not supported", sa.GetProtocol())
		case sa.GetResolverName() != "":
			s.fail("resolver_name is not supported")
		case sa.GetPortValue() > 65535 || sa.GetNamedPort() != "":
			s.fail("port %d%s is not a port number", sa.GetPortValue(), sa.GetNamedPort())
		default:
			if spec.Hostname == "" {
				spec.Hostname = sa.GetAddress()
			}
			n.targets = append(n.targets, target{host: sa.GetAddress(), port: uint16(sa.GetPortValue()), spec: spec}) //nolint:gosec // checked above
		}
	})
	if n.schedule.First && len(n.targets) != 1 {
		s.fail("a LOGICAL_DNS cluster has one endpoint, not %d", len(n.targets))
	}
	return n
}

func lookupFamily(f clusterv3.Cluster_DnsLookupFamily) resolve.Family {
	switch f {
	case clusterv3.Cluster_V4_ONLY:
		return resolve.V4Only
	case clusterv3.Cluster_V6_ONLY:
		return resolve.V6Only
	case clusterv3.Cluster_V4_PREFERRED:
		return resolve.V4Preferred
	case clusterv3.Cluster_ALL:
		return resolve.All
	case clusterv3.Cluster_AUTO:
	}
	return resolve.V6Preferred
}

// hosts are the names to watch.
func (n *names) hosts() []string {
	var out []string
	for i := range n.targets {
		out = append(out, n.targets[i].host)
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// asks reports whether the watch of n serves for other as well.
func (n *names) asks(other *names) bool {
	return n != nil && n.schedule == other.schedule && slices.Equal(n.hosts(), other.hosts())
}

func (n *names) stop() {
	if n != nil && n.watch != nil {
		n.watch.Stop()
	}
}

// endpoints are the specs that follow from the latest answers. Only the first address
// counts where connections shall outlive a change of it.
func (n *names) endpoints() []lb.EndpointSpec {
	var out []lb.EndpointSpec
	for i := range n.targets {
		t := &n.targets[i]
		for _, addr := range n.watch.Addrs(t.host) {
			spec := t.spec
			spec.Addr = netip.AddrPortFrom(addr, t.port)
			if n.schedule.First {
				spec.Name = t.host + ":" + strconv.Itoa(int(t.port))
				return []lb.EndpointSpec{spec}
			}
			out = append(out, spec)
		}
	}
	return out
}

// resolved has the names of a cluster looked up, and gives the endpoints once every
// name has had an outcome. The lock is held.
func (c *Compiler) resolved(e *clusterEntry, cluster string, n *names) ([]lb.EndpointSpec, error) {
	switch {
	case e.names.asks(n):
		n.watch = e.names.watch
	case e.coming.asks(n):
		n.watch = e.coming.watch
	default:
		e.coming.stop()
		n.watch = c.resolver.Watch(n.hosts(), n.schedule, func(w *resolve.Watch) { c.named(cluster, w) })
		e.coming = n
	}
	if !n.watch.Settled() {
		e.coming = n
		return nil, errNotYet
	}
	return n.endpoints(), nil
}

// adopt makes n, which may be nil, what the cluster's endpoints come from.
func (e *clusterEntry) adopt(n *names) {
	for _, old := range []*names{e.names, e.coming} {
		if old != nil && (n == nil || old.watch != n.watch) {
			old.stop()
		}
	}
	e.names, e.coming = n, nil
}

// named follows the news of a watch.
func (c *Compiler) named(cluster string, w *resolve.Watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.clusters.byName[cluster]
	switch {
	case e == nil:
		return
	case e.names != nil && e.names.watch == w && e.built != nil:
		e.built.PublishEndpoints(lb.NewSet(e.built.Endpoints(), e.names.endpoints(), e.policy))
	case e.coming != nil && e.coming.watch == w:
		if live := e.mention.Value(); live != nil && (e.built != nil || e.removed) {
			_ = c.buildCluster(e, live) // reported
		}
		c.arrive()
	}
}
