package lb

// Kind is a way of picking among the endpoints of equal standing.
type Kind uint8

// The kinds of policy.
const (
	LeastRequest Kind = iota
	RoundRobin
	Random
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
	// PanicThreshold is the percentage of usable endpoints below which a priority
	// uses all of its endpoints whatever their health. 0 means never.
	PanicThreshold float64
	// Overprovisioning is the percentage by which a priority's share of usable
	// endpoints is valued up before traffic spills to the next; 0 means 140.
	Overprovisioning uint32
	// LocalityWeighted splits a priority's traffic among its localities by their
	// weights before an endpoint is picked.
	LocalityWeighted bool
}

func (p Policy) withDefaults() Policy {
	if p.ChoiceCount <= 0 {
		p.ChoiceCount = DefaultChoiceCount
	}
	if p.Overprovisioning == 0 {
		p.Overprovisioning = DefaultOverprovisioning
	}
	p.PanicThreshold = min(p.PanicThreshold, 100)
	return p
}
