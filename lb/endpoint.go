package lb

import (
	"net/netip"
	"sync/atomic"
)

// Health is what the control plane says of an endpoint.
type Health uint8

// The states of health. Unknown endpoints are used like healthy ones.
const (
	Unknown Health = iota
	Healthy
	Unhealthy
	// Draining endpoints get no new work; what they have goes on.
	Draining
	// Degraded endpoints are used when the healthy ones do not suffice.
	Degraded
)

// String returns the name in the form that Envoy's admin pages print.
func (h Health) String() string {
	switch h {
	case Healthy:
		return "healthy"
	case Unhealthy:
		return "unhealthy"
	case Draining:
		return "draining"
	case Degraded:
		return "degraded"
	default:
		return "unknown"
	}
}

// HealthSet is a set of states of health.
type HealthSet uint8

// Healths makes a set.
func Healths(all ...Health) HealthSet {
	var s HealthSet
	for _, h := range all {
		s |= 1 << h
	}
	return s
}

// Has reports whether a state is in the set.
func (s HealthSet) Has(h Health) bool { return s>>h&1 == 1 }

// EndpointSpec is one endpoint as an update describes it. It is immutable once it
// was given to NewSet.
type EndpointSpec struct {
	Addr netip.AddrPort
	// Name, where it is not empty, identifies the endpoint in place of its address: the
	// path of a unix socket, or the name behind an address that may change while
	// connections stay.
	Name     string
	Hostname string
	// Weight is relative to the other endpoints of its locality; 0 means 1.
	Weight uint32
	Health Health
	// Priority 0 is used first.
	Priority uint32
	// Locality is an opaque key; LocalityWeight is used only where the policy is
	// locality weighted, and 0 excludes the locality there.
	Locality       string
	LocalityWeight uint32
	// HashKey is hashed instead of the address, where it is not empty.
	HashKey string
	// Match is the metadata that chooses the transport socket.
	Match map[string]string
	// Workload names the workload behind the address, for telemetry.
	Workload string
}

func (s *EndpointSpec) weight() uint32 { return max(s.Weight, 1) }

// identity tells the endpoints of a cluster apart.
type identity struct {
	addr netip.AddrPort // not valid where there is a name
	name string
}

func (s *EndpointSpec) identity() identity {
	if s.Name != "" {
		return identity{name: s.Name}
	}
	return identity{addr: s.Addr}
}

// Endpoint is one address of a cluster with its counters. It keeps its identity as
// long as updates name its address.
type Endpoint struct {
	id identity // immutable

	spec       atomic.Pointer[EndpointSpec] // written by the builder of sets
	attachment atomic.Value
	active     atomic.Int64
	ejected    atomic.Bool
	weight     atomic.Uint32 // of spec, at hand for schedules
	warm       atomic.Int64  // since when it was healthy, see SlowStart; 0 is never
}

func (e *Endpoint) describe(spec *EndpointSpec) {
	e.weight.Store(spec.weight())
	e.spec.Store(spec)
}

// NewEndpoint makes an endpoint that belongs to no set, for clusters that make
// their endpoints on demand.
func NewEndpoint(spec *EndpointSpec) *Endpoint {
	e := &Endpoint{id: spec.identity()}
	e.describe(spec)
	return e
}

// Addr is the endpoint's address, for now that is where the endpoint has a name. It is
// not valid for unix sockets.
func (e *Endpoint) Addr() netip.AddrPort {
	if e.id.name != "" {
		return e.Spec().Addr
	}
	return e.id.addr
}

// Spec is the latest description of the endpoint.
func (e *Endpoint) Spec() *EndpointSpec { return e.spec.Load() }

// Health is what the control plane says, unless the endpoint was ejected: then it is
// Unhealthy.
func (e *Endpoint) Health() Health {
	if e.ejected.Load() {
		return Unhealthy
	}
	return e.Spec().Health
}

// SetEjected takes the endpoint out of use, or back. Sets that are built afterwards see
// it: to have it count at once, Rebuild the current one.
func (e *Endpoint) SetEjected(on bool) { e.ejected.Store(on) }

// Ejected reports whether the endpoint was taken out of use for its failures.
func (e *Endpoint) Ejected() bool { return e.ejected.Load() }

// Active is the number of requests (HTTP) and connections (TCP) in progress.
func (e *Endpoint) Active() int64 { return e.active.Load() }

// Acquire counts one request or connection; Release ends it.
func (e *Endpoint) Acquire() { e.active.Add(1) }

// Release ends what Acquire began.
func (e *Endpoint) Release() { e.active.Add(-1) }

// Attachment returns what was attached to the endpoint, or nil.
func (e *Endpoint) Attachment() any { return e.attachment.Load() }

// Attach hangs v on the endpoint if nothing is attached yet, and returns what is
// attached now. All attachments must have one concrete type.
func (e *Endpoint) Attach(v any) any {
	if e.attachment.CompareAndSwap(nil, v) {
		return v
	}
	return e.attachment.Load()
}
