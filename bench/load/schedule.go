package load

// Arrival is how requests of an open loop spread over time.
type Arrival int

// The arrivals.
const (
	// Uniform puts each request at a random time within its own slot of 1/rate.
	Uniform Arrival = iota
	// Poisson makes gaps independent: bursts happen as with many unrelated callers.
	Poisson
	// Steady has no jitter.
	Steady
)
