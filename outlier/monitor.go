package outlier

import (
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
)

// Result is what became of an attempt.
type Result uint8

// The results.
const (
	// Answered: the endpoint answered, with the status that is reported along.
	Answered Result = iota
	// Connected: there is a connection for an exchange, which reports its own result.
	Connected
	// Established: there is a connection, and that is all there is to tell.
	Established
	// ConnectFailed: no connection, or one that ended or failed under the exchange.
	ConnectFailed
	// TimedOut: the endpoint took too long. The status is what the downstream gets, or 0.
	TimedOut
)

// The statuses that stand for results without one.
const (
	statusOK          = 200
	statusInternal    = 500
	statusUnavailable = 503
	statusTimeout     = 504
)

// Monitor counts the outcomes of one endpoint.
type Monitor struct {
	detector *Detector    // immutable
	endpoint *lb.Endpoint // immutable

	consecutive [3]atomic.Uint32 // by the first three kinds
	external    ratio
	local       ratio

	record record // guarded by detector.mu
}

// record is an endpoint's past.
type record struct {
	ejected   bool
	gone      bool // in no set any more
	ejections int
	backoff   int // by which the base time is multiplied
	since     time.Time
	returned  time.Time
	jitter    time.Duration
}

// ratio counts requests in the current interval.
type ratio struct {
	total, good atomic.Uint64
	last        struct{ total, good uint64 } // of the interval before; owned by the sweep
}

func (r *ratio) add(good bool) {
	r.total.Add(1)
	if good {
		r.good.Add(1)
	}
}

// turn begins an interval, and reports whether anything was counted in the last one.
func (r *ratio) turn() bool {
	r.last.total, r.last.good = r.total.Swap(0), r.good.Swap(0)
	r.last.good = min(r.last.good, r.last.total) // one of them may have been counted late
	return r.last.total > 0
}

func (r *ratio) percent() float64 { return 100 * float64(r.last.good) / float64(r.last.total) }

// Report counts an outcome. A status of 0 lets the result speak for itself.
func (m *Monitor) Report(r Result, status int) {
	d := m.detector
	c := d.config.Load()
	if c == nil {
		return
	}
	d.wake(c)
	if c.Split {
		m.reportSplit(c, r, status)
		return
	}
	if status == 0 {
		switch r {
		case Answered, Established:
			status = statusOK
		case ConnectFailed:
			status = statusUnavailable
		case TimedOut:
			status = statusTimeout
		case Connected:
			return
		}
	}
	m.answered(c, status)
}

// reportSplit tells what happened on the way from what the endpoint said.
func (m *Monitor) reportSplit(c *Config, r Result, status int) {
	switch r {
	case Connected, Established:
		m.local.add(true)
		m.reset(ConsecutiveLocal)
	case ConnectFailed, TimedOut:
		m.local.add(false)
		m.failed(c, ConsecutiveLocal)
	case Answered:
		m.answered(c, status)
	}
}

// answered counts a status.
func (m *Monitor) answered(c *Config, status int) {
	if status < statusInternal {
		m.external.add(true)
		m.reset(Consecutive5xx)
		m.reset(ConsecutiveGateway)
		return
	}
	m.external.add(false)
	if status >= 502 && status <= 504 {
		m.failed(c, ConsecutiveGateway)
	} else {
		m.reset(ConsecutiveGateway)
	}
	m.failed(c, Consecutive5xx)
}

// failed counts one more failure in a row. The one that is the last allowed tells.
func (m *Monitor) failed(c *Config, k Kind) {
	if m.consecutive[k].Add(1) == c.Consecutive[k] {
		m.detector.suspect(m, k)
	}
}

func (m *Monitor) reset(k Kind) {
	if m.consecutive[k].Load() != 0 { // mostly it is 0: do not write to a shared line
		m.consecutive[k].Store(0)
	}
}
