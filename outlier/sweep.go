package outlier

import (
	"math"
	"time"
)

// sweep ends an interval. It is the timer's.
func (d *Detector) sweep() {
	c := d.config.Load()
	if c == nil {
		return
	}
	used, all := d.members.Monitors()
	now := time.Now()
	d.mu.Lock()
	changed, busy := false, false
	for _, m := range used {
		if m.record.ejected && now.Sub(m.record.since) >= m.record.lasts(c) {
			changed = d.readmit(m, now) || changed
		}
		external, local := m.external.turn(), m.local.turn()
		busy = busy || external || local
	}
	for _, s := range [...]side{external(), local()} {
		changed = d.judge(c, used, all, s) || changed
	}
	for _, m := range used {
		busy = m.record.calm(c, now) || busy
	}
	if busy {
		d.arm(c)
	} else {
		d.awake.Store(false)
	}
	d.mu.Unlock()
	if changed {
		d.members.Reweigh()
	}
}

// lasts is how long the ejection lasts.
func (r *record) lasts(c *Config) time.Duration {
	return min(c.Base*time.Duration(r.backoff), max(c.Max, c.Base)) + r.jitter
}

// calm lets the time of the next ejection get shorter for an endpoint that has stayed
// in use for an interval, and reports whether it is to be looked at again.
func (r *record) calm(c *Config, now time.Time) bool {
	if !r.ejected && r.backoff > 0 && !r.returned.IsZero() && now.Sub(r.returned) >= c.Interval {
		r.backoff--
	}
	return r.ejected || r.backoff > 0
}

// side is one of the two things that are counted, and the kinds it can show.
type side struct {
	ratio         func(*Monitor) *ratio
	success, fail Kind
}

func external() side {
	return side{func(m *Monitor) *ratio { return &m.external }, SuccessRate, FailurePercentage}
}

func local() side {
	return side{func(m *Monitor) *ratio { return &m.local }, SuccessRateLocal, FailurePercentageLocal}
}

// judge compares the endpoints by their ratios in the last interval. The caller holds
// mu.
func (d *Detector) judge(c *Config, used []*Monitor, all int, s side) bool {
	if all < int(c.Success.MinHosts) && all < int(c.Failure.MinHosts) {
		return false
	}
	bySuccess, byFailure := s.withVolume(used, c.Success.Volume), s.withVolume(used, c.Failure.Volume)
	changed := false
	if len(bySuccess) > 0 && len(bySuccess) >= int(c.Success.MinHosts) {
		least := s.threshold(bySuccess, c.Success.Factor)
		for _, m := range bySuccess {
			if s.ratio(m).percent() < least {
				d.stats.oldSuccessRate.Add(1)
				changed = d.detect(c, m, s.success, all) || changed
			}
		}
	}
	if len(byFailure) > 0 && len(byFailure) >= int(c.Failure.MinHosts) {
		for _, m := range byFailure {
			if 100-s.ratio(m).percent() >= float64(c.Failure.Factor) {
				changed = d.detect(c, m, s.fail, all) || changed
			}
		}
	}
	return changed
}

// withVolume are the endpoints in use that had so many requests, and any at all.
func (s *side) withVolume(used []*Monitor, least uint32) []*Monitor {
	var with []*Monitor
	for _, m := range used {
		if n := s.ratio(m).last.total; !m.record.ejected && n > 0 && n >= uint64(least) {
			with = append(with, m)
		}
	}
	return with
}

// threshold is the mean of the success rates less a multiple of their standard
// deviation.
func (s *side) threshold(of []*Monitor, factor uint32) float64 {
	sum, variance := 0.0, 0.0
	for _, m := range of {
		sum += s.ratio(m).percent()
	}
	mean := sum / float64(len(of))
	for _, m := range of {
		apart := s.ratio(m).percent() - mean
		variance += apart * apart
	}
	return mean - float64(factor)/1000*math.Sqrt(variance/float64(len(of)))
}
