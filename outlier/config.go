package outlier

import "time"

// Kind is a way in which an endpoint shows itself to be an outlier.
type Kind uint8

// The kinds, in the order of Envoy's counters.
const (
	Consecutive5xx Kind = iota
	ConsecutiveGateway
	ConsecutiveLocal
	SuccessRate
	SuccessRateLocal
	FailurePercentage
	FailurePercentageLocal
	kinds
)

// String returns the name as in Envoy's statistics.
func (k Kind) String() string {
	return [...]string{
		"consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure",
		"success_rate", "local_origin_success_rate", "failure_percentage", "local_origin_failure_percentage",
	}[k]
}

// Rate is when a ratio of an interval counts.
type Rate struct {
	MinHosts uint32 // endpoints of the cluster that must have the volume
	Volume   uint32 // requests in the interval
	// Factor is a thousandth of standard deviations for success rates, a percentage for
	// failures.
	Factor uint32
}

// Config is how outliers are told. It is immutable once it is in use.
type Config struct {
	// Interval is the time between two sweeps.
	Interval time.Duration
	// Base is how long the first ejection lasts, Max the longest; up to Jitter is added
	// by chance.
	Base, Max, Jitter time.Duration
	// MaxPercent bounds how many of the endpoints are ejected at a time. AlwaysOne
	// allows one whatever the percentage.
	MaxPercent uint32
	AlwaysOne  bool
	// Split counts failures to connect and time-outs apart from what endpoints answer.
	Split bool
	// Consecutive are how many failures in a row eject, by the first three kinds; 0 is
	// never.
	Consecutive [3]uint32
	// Success and Failure judge by the ratios of an interval.
	Success, Failure Rate
	// Enforcing is the percentage of detections that eject, by kind.
	Enforcing [kinds]uint32
}

// Defaults are Envoy's.
func Defaults() Config {
	c := Config{
		Interval: 10 * time.Second, Base: 30 * time.Second, Max: 300 * time.Second, MaxPercent: 10,
		Consecutive: [3]uint32{5, 5, 5},
		Success:     Rate{MinHosts: 5, Volume: 100, Factor: 1900},
		Failure:     Rate{MinHosts: 5, Volume: 50, Factor: 85},
	}
	for _, k := range [...]Kind{Consecutive5xx, ConsecutiveLocal, SuccessRate, SuccessRateLocal} {
		c.Enforcing[k] = 100
	}
	return c
}
