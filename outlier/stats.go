package outlier

import "sync/atomic"

// Stats are a detector's counters, named as Envoy's.
type Stats struct {
	detected, enforced      [kinds]atomic.Uint64
	enforcedTotal, overflow atomic.Uint64

	// Envoy's deprecated names, which dashboards know.
	oldTotal, oldConsecutive5xx, oldSuccessRate atomic.Uint64
}

// Each calls f with every value by its name behind "outlier_detection.".
func (d *Detector) Each(f func(name string, value uint64, gauge bool)) {
	s := &d.stats
	f("ejections_active", uint64(max(d.Active(), 0)), true) //nolint:gosec // not negative
	f("ejections_enforced_total", s.enforcedTotal.Load(), false)
	f("ejections_overflow", s.overflow.Load(), false)
	for k := range kinds {
		f("ejections_detected_"+k.String(), s.detected[k].Load(), false)
		f("ejections_enforced_"+k.String(), s.enforced[k].Load(), false)
	}
	f("ejections_total", s.oldTotal.Load(), false)
	f("ejections_consecutive_5xx", s.oldConsecutive5xx.Load(), false)
	f("ejections_success_rate", s.oldSuccessRate.Load(), false)
}
