package lb

// level is what counts of one priority.
type level struct {
	total, healthy, degraded int
}

// loads is how the traffic splits: percentages by priority.
type loads struct {
	healthy, degraded []uint32
	panicked          []bool
}

// weigh splits the traffic among the priorities. A priority takes what its usable
// endpoints, valued up by overprovisioning, can bear; the rest goes to the next.
func weigh(levels []level, p *Policy) loads {
	l := loads{
		healthy:  make([]uint32, len(levels)),
		degraded: make([]uint32, len(levels)),
		panicked: make([]bool, len(levels)),
	}
	healthy, degraded := make([]uint32, len(levels)), make([]uint32, len(levels))
	var sum uint32
	for i, lv := range levels {
		healthy[i] = availability(lv.healthy, lv.total, p.Overprovisioning)
		degraded[i] = availability(lv.degraded, lv.total, p.Overprovisioning)
		sum += healthy[i] + degraded[i]
	}
	norm := min(sum, 100)
	if norm > 0 {
		remaining := distribute(healthy, l.healthy, 100, norm)
		remaining = distribute(degraded, l.degraded, remaining, norm)
		l.giveRest(healthy, degraded, remaining)
	}
	if norm < 100 && l.panics(levels, p.PanicThreshold) {
		l.byCount(levels)
	}
	return l
}

func availability(usable, total int, overprovisioning uint32) uint32 {
	if total == 0 {
		return 0
	}
	return uint32(min(100, uint64(overprovisioning)*uint64(usable)/uint64(total))) //nolint:gosec // at most 100
}

func distribute(available, load []uint32, remaining, norm uint32) uint32 {
	for i, a := range available {
		load[i] = min(remaining, a*100/norm)
		remaining -= load[i]
	}
	return remaining
}

// giveRest hands what rounding left over to the first healthy priority, or else to
// the first degraded one.
func (l *loads) giveRest(healthy, degraded []uint32, rest uint32) {
	for i, a := range healthy {
		if a > 0 {
			l.healthy[i] += rest
			return
		}
	}
	for i, a := range degraded {
		if a > 0 {
			l.degraded[i] += rest
			return
		}
	}
}

// panics marks the priorities that have too few usable endpoints to trust, and
// reports whether that is all of them.
func (l *loads) panics(levels []level, threshold float64) bool {
	all := len(levels) > 0
	for i, lv := range levels {
		usable := 100 * float64(lv.healthy+lv.degraded) / float64(max(lv.total, 1))
		l.panicked[i] = usable < threshold
		all = all && l.panicked[i]
	}
	return all
}

// byCount splits the traffic by the number of endpoints alone.
func (l *loads) byCount(levels []level) {
	total := 0
	for _, lv := range levels {
		total += lv.total
	}
	var remaining uint32 = 100
	for i, lv := range levels {
		l.degraded[i] = 0
		l.healthy[i] = min(remaining, uint32(100*lv.total/max(total, 1))) //nolint:gosec // at most 100
		remaining -= l.healthy[i]
	}
	l.healthy[0] += remaining // levels are never empty
}
