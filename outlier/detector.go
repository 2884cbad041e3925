package outlier

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
)

// Members are the endpoints that a detector judges.
type Members interface {
	// Monitors lists those that have been used, and the number of all.
	Monitors() (used []*Monitor, all int)
	// Count is the number of all.
	Count() int
	// Reweigh is called when endpoints were ejected or have returned.
	Reweigh()
}

// Detector judges the endpoints of one cluster. Its methods may be called from any
// goroutine.
type Detector struct {
	members Members // immutable

	config atomic.Pointer[Config] // nil while nothing is to be detected
	awake  atomic.Bool            // written under mu; a sweep is to come
	stats  Stats

	mu     sync.Mutex
	active int         // guarded by mu; endpoints that are ejected
	timer  *time.Timer // guarded by mu; calls sweep
}

// NewDetector makes a detector that detects nothing yet.
func NewDetector(m Members) *Detector { return &Detector{members: m} }

// Configure has outliers told as c says, from now on. With nil nothing is detected any
// more, and who was ejected returns.
func (d *Detector) Configure(c *Config) {
	d.config.Store(c)
	if c != nil {
		return
	}
	d.Stop()
	used, _ := d.members.Monitors()
	d.mu.Lock()
	changed := false
	for _, m := range used {
		changed = d.readmit(m, time.Time{}) || changed
	}
	d.mu.Unlock()
	if changed {
		d.members.Reweigh()
	}
}

// Stop ends the sweeps until the next report.
func (d *Detector) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.awake.Store(false)
	if d.timer != nil {
		d.timer.Stop()
	}
}

// Monitor makes the monitor of an endpoint.
func (d *Detector) Monitor(e *lb.Endpoint) *Monitor { return &Monitor{detector: d, endpoint: e} }

// Forget is told that the endpoint is in no set any more.
func (m *Monitor) Forget() {
	d := m.detector
	d.mu.Lock()
	defer d.mu.Unlock()
	m.record.gone = true
	if m.record.ejected {
		m.record.ejected = false
		d.active--
	}
}

// wake sees to it that there is a sweep.
func (d *Detector) wake(c *Config) {
	if d.awake.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.awake.Load() || d.config.Load() == nil {
		return
	}
	d.awake.Store(true)
	d.arm(c)
}

// arm sets the timer. The caller holds mu.
func (d *Detector) arm(c *Config) {
	if d.timer == nil {
		d.timer = time.AfterFunc(c.Interval, d.sweep)
	} else {
		d.timer.Reset(c.Interval)
	}
}

// suspect hears of an endpoint that has failed too often in a row.
func (d *Detector) suspect(m *Monitor, k Kind) {
	c := d.config.Load()
	if c == nil {
		return
	}
	d.mu.Lock()
	ejected := false
	if !m.record.ejected && !m.record.gone {
		ejected = d.detect(c, m, k, d.members.Count())
		if k == Consecutive5xx {
			d.stats.oldConsecutive5xx.Add(1)
		}
		m.consecutive[k].Store(0) // the next bout counts, whatever comes between
	}
	d.mu.Unlock()
	if ejected {
		d.members.Reweigh()
	}
}

// detect counts an outlier among so many endpoints, and ejects it unless too many are
// ejected already or chance is against it. The caller holds mu.
func (d *Detector) detect(c *Config, m *Monitor, k Kind, all int) bool {
	d.stats.detected[k].Add(1)
	if m.record.ejected {
		return false
	}
	share := 100 * float64(d.active+1) / float64(max(all, 1))
	if share > float64(min(c.MaxPercent, 100)) && (!c.AlwaysOne || d.active > 0) {
		d.stats.overflow.Add(1)
		return false
	}
	if k == Consecutive5xx || k == SuccessRate {
		d.stats.oldTotal.Add(1)
	}
	if rand.N(uint32(100)) >= c.Enforcing[k] { //nolint:gosec // chance
		return false
	}
	d.eject(c, m, k)
	return true
}

// eject takes an endpoint out of use. The caller holds mu.
func (d *Detector) eject(c *Config, m *Monitor, k Kind) {
	d.active++
	d.stats.enforced[k].Add(1)
	d.stats.enforcedTotal.Add(1)
	r := &m.record
	r.ejected, r.since = true, time.Now()
	r.ejections++
	r.jitter = 0
	if c.Jitter > 0 {
		r.jitter = rand.N(c.Jitter + 1) //nolint:gosec // chance
	}
	if time.Duration(r.backoff)*c.Base < c.Max+c.Base {
		r.backoff++
	}
	m.endpoint.SetEjected(true)
}

// readmit takes an endpoint back into use, and reports whether it was out. The caller
// holds mu.
func (d *Detector) readmit(m *Monitor, now time.Time) bool {
	if !m.record.ejected {
		return false
	}
	d.active--
	m.record.ejected, m.record.returned = false, now
	for k := range m.consecutive {
		m.consecutive[k].Store(0)
	}
	m.endpoint.SetEjected(false)
	return true
}

// Ejected reports whether any endpoint was ever ejected.
func (d *Detector) Ejected() bool { return d.stats.enforcedTotal.Load() > 0 }

// Active is the number of endpoints that are ejected.
func (d *Detector) Active() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.active
}
