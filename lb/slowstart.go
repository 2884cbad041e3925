package lb

import (
	"math"
	"time"
)

// SlowStart gives new endpoints less than their weight at first.
type SlowStart struct {
	// Window is how long an endpoint takes to its full weight; 0 is no slow start.
	Window time.Duration
	// Aggression bends the way there; 1 is a straight line, and 0 means 1.
	Aggression float64
	// MinPercent of the weight is given from the beginning.
	MinPercent float64
}

// factor is the part of its weight that an endpoint has. As in Envoy it grows from
// when the endpoint was first healthy; a later change of health does not count.
func (s *SlowStart) factor(e *Endpoint, now int64) float64 {
	warm := e.warm.Load()
	if warm == 0 || !usable.admits(e.Health()) {
		return 1
	}
	age := time.Duration(now - warm)
	if age >= s.Window {
		return 1
	}
	f := float64(max(age, time.Millisecond)) / float64(s.Window)
	if s.Aggression > 0 && s.Aggression != 1 { //nolint:gosec // exactly the default is meant
		f = math.Pow(f, 1/s.Aggression)
	}
	return max(f, s.MinPercent/100)
}

// warmUp notes since when endpoints are in use, and returns until when one of them is
// slow, counted from the set's epoch; 0 is nobody.
func (s *Set) warmUp() int64 {
	window := int64(s.policy.SlowStart.Window)
	if window <= 0 {
		return 0
	}
	now := max(int64(time.Since(s.epoch)), 1)
	var latest int64
	for _, e := range s.endpoints {
		if !usable.admits(e.Health()) {
			continue
		}
		e.warm.CompareAndSwap(0, now)
		latest = max(latest, e.warm.Load())
	}
	if latest == 0 || latest+window <= now {
		return 0
	}
	return latest + window
}
