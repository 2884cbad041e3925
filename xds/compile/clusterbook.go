package compile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"weak"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// clusterBook holds the live clusters by name. A cluster that was built is held
// until CDS removes it; one that is only mentioned lives as long as a rule
// mentions it.
type clusterBook struct {
	byName map[string]*clusterEntry
	// byEndpoints finds the built clusters that one load assignment feeds.
	byEndpoints map[string]map[string]bool
	// warming names the clusters that have a new configuration and wait for a load
	// assignment; the old configuration serves meanwhile.
	warming  map[string][]string
	mentions int // since the last sweep
}

type clusterEntry struct {
	mention weak.Pointer[upstream.Cluster]
	built   *upstream.Cluster // nil while the cluster is empty
	edsName string
	sockets sockets
	policy  lb.Policy
	// names are what a DNS cluster's endpoints come from; coming are those of a
	// configuration that waits for the first answers.
	names, coming *names
	// removed is set while CDS has taken a cluster away that was in use: it is
	// built again as soon as it comes back, since it does not ask any more.
	removed bool
	// failure is why the present configuration cannot be used, so that it is
	// compiled, and reported, once.
	failure error
}

func newClusterBook() clusterBook {
	return clusterBook{
		byName: make(map[string]*clusterEntry), byEndpoints: make(map[string]map[string]bool), warming: make(map[string][]string),
	}
}

func (b *clusterBook) live() []*upstream.Cluster {
	var out []*upstream.Cluster
	for _, e := range b.byName {
		if cluster := e.mention.Value(); cluster != nil {
			out = append(out, cluster)
		}
	}
	return out
}

// sweep forgets clusters that nobody mentions any more.
func (b *clusterBook) sweep() {
	const every = 1024
	if b.mentions++; b.mentions < every {
		return
	}
	b.mentions = 0
	for name, e := range b.byName {
		if e.built == nil && e.mention.Value() == nil {
			e.adopt(nil)
			delete(b.byName, name)
		}
	}
}

func (b *clusterBook) feed(edsName, cluster string, on bool) {
	if edsName == "" {
		return
	}
	if !on {
		delete(b.byEndpoints[edsName], cluster)
		if len(b.byEndpoints[edsName]) == 0 {
			delete(b.byEndpoints, edsName)
		}
		return
	}
	if b.byEndpoints[edsName] == nil {
		b.byEndpoints[edsName] = make(map[string]bool, 1)
	}
	b.byEndpoints[edsName][cluster] = true
}

// cluster finds or makes the live object of a name. The lock is held.
func (c *Compiler) cluster(name string) *upstream.Cluster {
	if e := c.clusters.byName[name]; e != nil {
		if cluster := e.mention.Value(); cluster != nil {
			return cluster
		}
	}
	c.clusters.sweep()
	cluster := upstream.New(name, c.clusterOpt)
	c.clusters.byName[name] = &clusterEntry{mention: weak.Make(cluster), sockets: make(sockets)}
	return cluster
}

// fillCluster builds a cluster at its first use. It waits for endpoints that are
// on their way.
func (c *Compiler) fillCluster(ctx context.Context, cluster *upstream.Cluster) error {
	return c.await(ctx, func() error {
		if cluster.Spec() != nil {
			return nil
		}
		e := c.clusters.byName[cluster.Name()]
		if e == nil || e.mention.Value() != cluster {
			return errors.New("is not in use any more")
		}
		if e.failure != nil {
			return e.failure
		}
		return c.buildCluster(e, cluster)
	})
}

// buildCluster compiles a cluster and its endpoints and publishes both. The lock
// is held. A cluster whose endpoints have not arrived keeps what it has.
func (c *Compiler) buildCluster(e *clusterEntry, cluster *upstream.Cluster) error {
	name := cluster.Name()
	body, ok := c.store.Get(xds.TypeCluster, name)
	if !ok {
		return upstream.ErrUnknown
	}
	var m clusterv3.Cluster
	if err := proto.Unmarshal(body, &m); err != nil {
		e.failure = c.failed("cluster", name, err)
		return e.failure
	}
	s := newScope()
	fresh := maps.Clone(e.sockets)
	spec := c.clusterSpec(s, &m, fresh)
	edsName, n := endpointsName(&m), clusterNames(s, &m)
	specs, err := c.clusterEndpoints(s, e, &m, n)
	switch {
	case errors.Is(err, errNotYet):
		return err
	case err != nil:
		e.failure = c.failed("cluster", name, err)
		return e.failure
	}
	e.adopt(n)
	c.clusters.feed(e.edsName, name, false)
	c.clusters.feed(edsName, name, true)
	e.built, e.edsName, e.sockets, e.policy, e.removed = cluster, edsName, fresh.of(spec), spec.Policy, false
	cluster.Publish(spec, lb.NewSet(cluster.Endpoints(), specs, spec.Policy))
	return nil
}

// clusterEndpoints finds the endpoints of a cluster: in what EDS sent, in the cluster
// itself, or behind names.
func (c *Compiler) clusterEndpoints(s scope, e *clusterEntry, m *clusterv3.Cluster, n *names) ([]lb.EndpointSpec, error) {
	var specs []lb.EndpointSpec
	switch edsName := endpointsName(m); {
	case n != nil:
		if err := s.err(); err != nil {
			return nil, err
		}
		return c.resolved(e, m.GetName(), n)
	case edsName == "":
		specs = endpoints(s.in("load_assignment"), m.GetLoadAssignment())
	default:
		eds, ok := c.store.Get(xds.TypeEndpoint, edsName)
		if !ok {
			if e.built != nil || e.removed {
				c.clusters.warming[edsName] = append(c.clusters.warming[edsName], m.GetName())
			}
			return nil, errNotYet
		}
		specs = decodeEndpoints(s, eds)
	}
	return specs, s.err()
}

// of keeps the clients that a spec uses.
func (k sockets) of(spec *upstream.Spec) sockets {
	used := make(map[upstream.Handshaker]bool)
	used[spec.Default.TLS] = true
	for _, m := range spec.Sockets {
		used[m.TLS] = true
	}
	for digest, client := range k {
		if !used[client] {
			delete(k, digest)
		}
	}
	return k
}

// endpointsName is the name of the load assignment that feeds a cluster, or empty.
func endpointsName(m *clusterv3.Cluster) string {
	if m.GetType() != clusterv3.Cluster_EDS || m.GetClusterType() != nil {
		return ""
	}
	if n := m.GetEdsClusterConfig().GetServiceName(); n != "" {
		return n
	}
	return m.GetName()
}

func decodeEndpoints(s scope, body []byte) []lb.EndpointSpec {
	var m endpointv3.ClusterLoadAssignment
	if !s.check(proto.Unmarshal(body, &m)) {
		return nil
	}
	return endpoints(s, &m)
}

// checkCluster compiles a cluster that is in use, or that has a transport socket of
// its own, without publishing it. The others, whose sockets istiod makes by one
// pattern, are judged by the rules, and compiled at their first use.
func (c *Compiler) checkCluster(name string, body []byte) error {
	if e := c.clusters.byName[name]; (e == nil || e.built == nil) && !ownSocket(body) {
		return nil
	}
	var m clusterv3.Cluster
	if err := proto.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	s := newScope()
	c.clusterSpec(s, &m, make(sockets))
	clusterNames(s, &m)
	return s.err()
}

// ownSocket reports whether a cluster sets transport_socket.
func ownSocket(body []byte) bool {
	const transportSocket = 24
	fields := wire.Cursor{Rest: body}
	for fields.Next() {
		if fields.Num == transportSocket {
			return true
		}
	}
	return false
}

// clustersChanged follows a CDS push for the clusters that are in use.
func (c *Compiler) clustersChanged(changed, removed []string) {
	for _, name := range changed {
		e := c.clusters.byName[name]
		if e == nil {
			continue
		}
		e.failure = nil
		cluster := e.mention.Value()
		if cluster == nil || e.built == nil && !e.removed { // built at its first use
			continue
		}
		_ = c.buildCluster(e, cluster) // reported; errNotYet: it warms while the old one serves
	}
	for _, name := range removed {
		e := c.clusters.byName[name]
		if e == nil || e.built == nil {
			continue
		}
		c.clusters.feed(e.edsName, name, false)
		e.adopt(nil)
		e.built.Remove()
		e.built, e.edsName, e.sockets, e.removed = nil, "", make(sockets), true
	}
}

// warmed finishes the clusters that waited for the load assignments that arrived.
func (c *Compiler) warmed(edsNames []string) {
	for _, edsName := range edsNames {
		waiting := c.clusters.warming[edsName]
		delete(c.clusters.warming, edsName)
		for _, name := range waiting {
			e := c.clusters.byName[name]
			if e == nil {
				continue
			}
			if cluster := e.mention.Value(); cluster != nil {
				_ = c.buildCluster(e, cluster) // reported
			}
		}
	}
}

// endpointsChanged follows an EDS push for the clusters that are in use. Removed
// assignments leave the endpoints as they are, as in Envoy.
func (c *Compiler) endpointsChanged(changed []string) {
	c.retryFailed(changed)
	for _, edsName := range changed {
		for name := range c.clusters.byEndpoints[edsName] {
			e := c.clusters.byName[name]
			body, ok := c.store.Get(xds.TypeEndpoint, edsName)
			if e == nil || e.built == nil || !ok {
				continue
			}
			s := newScope()
			specs := followEndpoints(s, body, e.built.Endpoints())
			if err := s.err(); err != nil {
				_ = c.failed("endpoints", edsName, err)
				continue
			}
			e.built.PublishEndpoints(lb.Follow(e.built.Endpoints(), specs, e.policy))
		}
	}
}

// retryFailed compiles clusters again that could not be used, where that may have been for
// the sake of load assignments that have changed.
func (c *Compiler) retryFailed(edsNames []string) {
	for name, e := range c.clusters.byName {
		if e.failure == nil {
			continue
		}
		body, _ := c.store.Get(xds.TypeCluster, name)
		var m clusterv3.Cluster
		if proto.Unmarshal(body, &m) != nil || !slices.Contains(edsNames, endpointsName(&m)) {
			continue
		}
		e.failure = nil
		if cluster := e.mention.Value(); cluster != nil && (e.built != nil || e.removed) {
			_ = c.buildCluster(e, cluster) // reported
		}
	}
}
