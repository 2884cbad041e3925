package compile

import (
	"math"
	"math/big"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/outrigger-mesh/outrigger/lb"
)

// policy compiles how a cluster picks among its endpoints.
func (c *Compiler) policy(s scope, m *clusterv3.Cluster) lb.Policy {
	p := lb.Policy{PanicThreshold: lb.DefaultPanicThreshold, Locality: c.locality}
	if m.GetLoadBalancingPolicy() != nil {
		s.in("load_balancing_policy").fail("is not supported")
	}
	commonPolicy(s.in("common_lb_config"), m.GetCommonLbConfig(), &p)
	if p.Hashing.ByHostname && m.GetType() != clusterv3.Cluster_STRICT_DNS {
		s.in("common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing").fail("is for clusters of type STRICT_DNS")
	}
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		p.Kind = lb.RoundRobin
		p.SlowStart = slowStart(m.GetRoundRobinLbConfig().GetSlowStartConfig())
	case clusterv3.Cluster_LEAST_REQUEST:
		leastRequest(m.GetLeastRequestLbConfig(), &p)
	case clusterv3.Cluster_RANDOM:
		p.Kind = lb.Random
	case clusterv3.Cluster_RING_HASH:
		ringHash(s.in("ring_hash_lb_config"), m.GetRingHashLbConfig(), &p)
	case clusterv3.Cluster_MAGLEV:
		maglev(s.in("maglev_lb_config"), m.GetMaglevLbConfig(), &p)
	case clusterv3.Cluster_CLUSTER_PROVIDED:
		p.Kind = lb.ClusterProvided
	case clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG:
		s.in("lb_policy").fail("%v is not supported", m.GetLbPolicy())
	}
	return p
}

func commonPolicy(s scope, m *clusterv3.Cluster_CommonLbConfig, p *lb.Policy) {
	p.LocalityWeighted = m.GetLocalityWeightedLbConfig() != nil
	if t := m.GetHealthyPanicThreshold(); t != nil {
		p.PanicThreshold = t.GetValue()
	}
	p.FailOnPanic = m.GetZoneAwareLbConfig().GetFailTrafficOnPanic()
	for _, h := range m.GetOverrideHostStatus().GetStatuses() {
		p.Override |= lb.Healths(health(h))
	}
	consistent := m.GetConsistentHashingLbConfig()
	p.Hashing.ByHostname = consistent.GetUseHostnameForHashing()
	if f := consistent.GetHashBalanceFactor(); f != nil {
		if p.Hashing.BalanceFactor = f.GetValue(); f.GetValue() < 100 {
			s.in("consistent_hashing_lb_config.hash_balance_factor").fail("%d is below 100", f.GetValue())
		}
	}
}

func leastRequest(m *clusterv3.Cluster_LeastRequestLbConfig, p *lb.Policy) {
	p.Kind = lb.LeastRequest
	p.ChoiceCount = int(number(m.GetChoiceCount(), lb.DefaultChoiceCount))
	p.SlowStart = slowStart(m.GetSlowStartConfig())
	if b := m.GetActiveRequestBias(); b != nil {
		switch v := b.GetDefaultValue(); {
		case v == 0: //nolint:gosec // exactly zero is meant
			p.ActiveBias = -1
		case v > 0 && !math.IsInf(v, 1):
			p.ActiveBias = v
		}
	}
}

// minSlowPercent is what Envoy gives a new endpoint at least.
const minSlowPercent = 10

func slowStart(m *clusterv3.Cluster_SlowStartConfig) lb.SlowStart {
	out := lb.SlowStart{Window: duration(m.GetSlowStartWindow(), 0), Aggression: 1, MinPercent: minSlowPercent}
	if out.Window <= 0 {
		return lb.SlowStart{}
	}
	if a := m.GetAggression().GetDefaultValue(); a > 0 {
		out.Aggression = a
	}
	if w := m.GetMinWeightPercent(); w != nil {
		out.MinPercent = w.GetValue()
	}
	return out
}

func ringHash(s scope, m *clusterv3.Cluster_RingHashLbConfig, p *lb.Policy) {
	p.Kind = lb.RingHash
	h := &p.Hashing
	h.Murmur = m.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2
	h.MinRing, h.MaxRing = lb.DefaultMinRing, lb.DefaultMaxRing
	if n := m.GetMinimumRingSize(); n != nil {
		h.MinRing = n.GetValue()
	}
	if n := m.GetMaximumRingSize(); n != nil {
		h.MaxRing = n.GetValue()
	}
	switch {
	case h.MaxRing > lb.DefaultMaxRing:
		s.in("maximum_ring_size").fail("%d is above %d", h.MaxRing, lb.DefaultMaxRing)
	case h.MinRing > h.MaxRing:
		s.in("minimum_ring_size").fail("%d is above maximum_ring_size, %d", h.MinRing, h.MaxRing)
	}
}

// maxTable is Envoy's.
const maxTable = 5000011

func maglev(s scope, m *clusterv3.Cluster_MaglevLbConfig, p *lb.Policy) {
	p.Kind = lb.Maglev
	n := m.GetTableSize()
	switch {
	case n == nil:
	case n.GetValue() > maxTable:
		s.in("table_size").fail("%d is above %d", n.GetValue(), maxTable)
	case !new(big.Int).SetUint64(n.GetValue()).ProbablyPrime(0):
		s.in("table_size").fail("%d is not a prime number", n.GetValue())
	default:
		p.Hashing.TableSize = uint32(n.GetValue())
	}
}
