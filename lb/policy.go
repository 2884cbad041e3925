package lb

import "math"

// Kind is a way of picking among the endpoints of equal standing.
type Kind uint8

// The kinds of policy.
const (
	LeastRequest Kind = iota
	RoundRobin
	Random
	// RingHash and Maglev pick by a hash that the request brings along, at random
	// where it brings none.
	RingHash
	Maglev
	// ClusterProvided leaves the choice to the cluster; its sets pick at random.
	ClusterProvided
)

// String returns the name as in Envoy's configuration.
func (k Kind) String() string {
	switch k {
	case LeastRequest:
		return "LEAST_REQUEST"
	case RoundRobin:
		return "ROUND_ROBIN"
	case Random:
		return "RANDOM"
	case RingHash:
		return "RING_HASH"
	case Maglev:
		return "MAGLEV"
	default:
		return "CLUSTER_PROVIDED"
	}
}

// Envoy's defaults.
const (
	DefaultChoiceCount      = 2
	DefaultOverprovisioning = 140
	DefaultPanicThreshold   = 50
)

// Policy says how a set picks.
type Policy struct {
	Kind Kind
	// ChoiceCount is how many endpoints least request compares; 0 means 2.
	ChoiceCount int
	// ActiveBias is the exponent of the requests in progress that least request
	// divides differing weights by; 0 means 1, negative that they do not count.
	ActiveBias float64
	SlowStart  SlowStart
	Hashing    Hashing
	// PanicThreshold is the percentage of usable endpoints below which a priority
	// uses all of its endpoints whatever their health. 0 means never.
	PanicThreshold float64
	// Overprovisioning is the percentage by which a priority's share of usable
	// endpoints is valued up before traffic spills to the next; 0 means 140.
	Overprovisioning uint32
	// LocalityWeighted splits a priority's traffic among its localities by their
	// weights before an endpoint is picked.
	LocalityWeighted bool
	// FailOnPanic answers with ErrNoEndpoint where there would be panic.
	FailOnPanic bool
	// Override are the states of health in which an endpoint that a request names is
	// taken; none means Unknown, Healthy and Degraded.
	Override HealthSet
	// Locality is where this proxy is; it comes first among the localities.
	Locality string
}

func (p *Policy) hashes() bool { return p.Kind == RingHash || p.Kind == Maglev }

func (p Policy) withDefaults() Policy {
	if p.ChoiceCount <= 0 {
		p.ChoiceCount = DefaultChoiceCount
	}
	if p.Overprovisioning == 0 {
		p.Overprovisioning = DefaultOverprovisioning
	}
	p.PanicThreshold = min(math.Trunc(p.PanicThreshold), 100)
	if p.Override == 0 {
		p.Override = Healths(Unknown, Healthy, Degraded)
	}
	p.Hashing = p.Hashing.withDefaults()
	return p
}
