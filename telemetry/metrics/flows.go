package metrics

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/flow"
)

// HTTP counts finished exchanges of one connection manager. Its counters are
// atomics that Observe reaches without a look-up.
type HTTP struct {
	total     atomic.Uint64
	classes   [6]atomic.Uint64 // 0: no response; 1 to 5: 1xx to 5xx
	received  atomic.Uint64
	sent      atomic.Uint64
	local     atomic.Uint64
	retried   atomic.Uint64
	flagged   [64]atomic.Uint64
	duration  Histogram
	direction flow.Direction
}

// Observe counts a finished exchange. It allocates nothing.
func (h *HTTP) Observe(r *flow.Record) {
	h.total.Add(1)
	class := r.Response.Status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	h.classes[class].Add(1)
	h.received.Add(uint64(max(r.Request.Bytes, 0))) //nolint:gosec // not negative
	h.sent.Add(uint64(max(r.Response.Bytes, 0)))    //nolint:gosec // not negative
	if r.Response.Local {
		h.local.Add(1)
	}
	if r.Upstream.Attempts > 1 {
		h.retried.Add(1)
	}
	if r.Flags != 0 {
		h.countFlags(r.Flags)
	}
	h.duration.Observe(r.Duration)
}

func (h *HTTP) countFlags(flags flow.Flags) {
	for i := range h.flagged {
		if flags.Has(flow.Flag(i)) { //nolint:gosec // below 64
			h.flagged[i].Add(1)
		}
	}
}

// TCP counts finished connections of one TCP proxy.
type TCP struct {
	total    atomic.Uint64
	received atomic.Uint64
	sent     atomic.Uint64
	flagged  [64]atomic.Uint64
}

// Observe counts a finished connection. It allocates nothing.
func (t *TCP) Observe(r *flow.Record) {
	t.total.Add(1)
	t.received.Add(uint64(max(r.Request.Bytes, 0))) //nolint:gosec // not negative
	t.sent.Add(uint64(max(r.Response.Bytes, 0)))    //nolint:gosec // not negative
	if r.Flags == 0 {
		return
	}
	for i := range t.flagged {
		if r.Flags.Has(flow.Flag(i)) { //nolint:gosec // below 64
			t.flagged[i].Add(1)
		}
	}
}

// Flows hands out the counters of flows by their configured prefix. Equal prefixes
// share counters, so that a replaced listener counts on.
type Flows struct {
	mu   sync.Mutex
	http map[string]*HTTP
	tcp  map[string]*TCP
}

// NewFlows returns counters that reg prints.
func NewFlows(reg *Registry) *Flows {
	f := &Flows{http: make(map[string]*HTTP), tcp: make(map[string]*TCP)}
	reg.Add(f.emit)
	reg.AddHistograms(f.emitHistograms)
	return f
}

// HTTP returns the counters of a connection manager's stat_prefix.
func (f *Flows) HTTP(prefix string, d flow.Direction) *HTTP {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.http[prefix]
	if h == nil {
		h = &HTTP{direction: d}
		f.http[prefix] = h
	}
	return h
}

// TCP returns the counters of a TCP proxy's stat_prefix.
func (f *Flows) TCP(prefix string) *TCP {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tcp[prefix]
	if t == nil {
		t = &TCP{}
		f.tcp[prefix] = t
	}
	return t
}

// directions are the sums over all connection managers of a direction.
type directions [3]struct{ total, failed uint64 }

func (f *Flows) emit(emit Emit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var sums directions
	labels := make([]Label, 1, 2)
	for prefix, h := range f.http {
		labels = append(labels[:0], Label{HTTPPrefix, prefix})
		h.emit(emit, labels)
		sums[h.direction].total += h.total.Load()
		sums[h.direction].failed += h.classes[5].Load() + h.classes[0].Load()
	}
	for prefix, t := range f.tcp {
		labels = append(labels[:0], Label{TCPPrefix, prefix})
		t.emit(emit, labels)
	}
	for d, sum := range sums {
		name := flow.Direction(d).String() //nolint:gosec // one of three
		if sum.total == 0 {
			continue
		}
		labels = append(labels[:0], Label{"direction", name})
		emit("outrigger_requests_total", labels, float64(sum.total), Counter)
		emit("outrigger_requests_failed_total", labels, float64(sum.failed), Counter)
	}
}

// classLabels are the class label's values.
var classLabels = [...]string{"", "1", "2", "3", "4", "5"}

func (h *HTTP) emit(emit Emit, labels []Label) {
	count := func(name string, v *atomic.Uint64) { emit(name, labels, float64(v.Load()), Counter) }
	count("http.downstream_rq_total", &h.total)
	count("http.downstream_rq_body_bytes_received", &h.received)
	count("http.downstream_rq_body_bytes_sent", &h.sent)
	count("http.rq_direct_response", &h.local)
	count("http.rq_retried", &h.retried)
	emitFlags("http.rq_response_flag", labels, &h.flagged, emit)
	var completed uint64
	for class := 1; class < len(h.classes); class++ {
		n := h.classes[class].Load()
		completed += n
		emit("http.downstream_rq_xx", append(labels, Label{ResponseClass, classLabels[class]}), float64(n), Counter)
	}
	emit("http.downstream_rq_completed", labels, float64(completed), Counter)
}

func (t *TCP) emit(emit Emit, labels []Label) {
	count := func(name string, v *atomic.Uint64) { emit(name, labels, float64(v.Load()), Counter) }
	count("tcp.downstream_cx_total", &t.total)
	count("tcp.downstream_cx_rx_bytes_total", &t.received)
	count("tcp.downstream_cx_tx_bytes_total", &t.sent)
	emitFlags("tcp.cx_response_flag", labels, &t.flagged, emit)
}

// emitFlags emits the flags that occurred.
func emitFlags(name string, labels []Label, counts *[64]atomic.Uint64, emit Emit) {
	for i := range counts {
		if n := counts[i].Load(); n > 0 {
			flag := flow.Flag(i).String() //nolint:gosec // below 64
			if flag == "?" {
				flag = strconv.Itoa(i)
			}
			emit(name, append(labels, Label{"response_flag", flag}), float64(n), Counter)
		}
	}
}

func (f *Flows) emitHistograms(emit func(string, []Label, *Histogram)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for prefix, h := range f.http {
		emit("http.downstream_rq_time", []Label{{HTTPPrefix, prefix}}, &h.duration)
	}
}
