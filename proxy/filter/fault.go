package filter

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

var _ proxy.Filter = (*Fault)(nil)

// The headers by which a request says what is to befall it, where that is configured.
const (
	faultDelayHeader        = "x-envoy-fault-delay-request"
	faultDelayShareHeader   = "x-envoy-fault-delay-request-percentage"
	faultAbortHeader        = "x-envoy-fault-abort-request"
	faultAbortGRPCHeader    = "x-envoy-fault-abort-grpc-request"
	faultAbortShareHeader   = "x-envoy-fault-abort-request-percentage"
	faultDownstreamNodeName = "x-envoy-downstream-service-node"
)

// FaultCounts are named as Envoy's fault.* statistics.
type FaultCounts struct {
	Aborts   atomic.Uint64 // aborts_injected
	Delays   atomic.Uint64 // delays_injected
	Overflow atomic.Uint64 // faults_overflow
	Active   atomic.Int64  // active_faults
}

// Share is a part of all requests, chosen by chance.
type Share struct{ Numerator, Denominator uint32 }

// Everything is the share of all requests.
var Everything = Share{1, 1} //nolint:gochecknoglobals // a value

// hit tells by a random number whether a request is of the share.
func (s Share) hit(random uint64) bool {
	return s.Denominator > 0 && random%uint64(s.Denominator) < uint64(s.Numerator)
}

// limited is the share that a header asks for, which is the configured one at most.
func (s Share) limited(h *httpmsg.Header, name string) Share {
	v, ok := h.Get(name)
	if !ok {
		return s
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return s
	}
	s.Numerator = min(s.Numerator, uint32(n))
	return s
}

// FaultSpec is what befalls requests.
type FaultSpec struct {
	// Delay and Abort are independent of each other; nil is none.
	Delay *Delay
	Abort *Abort
	// Cluster, Nodes and Headers say which requests are meant, where set.
	Cluster string
	Nodes   []string
	Headers []match.Header
	// MaxActive is how many may be in trouble at a time; nil is no limit.
	MaxActive *uint32
}

// Delay holds a request back.
type Delay struct {
	Share Share
	For   time.Duration
	// Asked takes the time from the request instead, and Share as a limit.
	Asked bool
}

// Abort answers a request instead of its upstream.
type Abort struct {
	Share Share
	// Status is that of HTTP, or else GRPC that of gRPC.
	Status int
	GRPC   *int
	// Asked takes the status from the request instead, and Share as a limit.
	Asked bool
}

// Fault delays and aborts requests (envoy.filters.http.fault).
type Fault struct {
	// immutable
	name   proxy.FilterName
	spec   FaultSpec
	counts *FaultCounts
}

// NewFault makes the filter of a chain; a rule's *FaultSpec takes the place of spec.
func NewFault(name proxy.FilterName, spec FaultSpec, counts *FaultCounts) *Fault {
	return &Fault{name: name, spec: spec, counts: counts}
}

// Request delays first and aborts then, as Envoy does.
func (f *Fault) Request(x *proxy.Exchange) *proxy.Reply {
	spec := &f.spec
	if own, ok := x.Setting(f.name).(*FaultSpec); ok {
		spec = own
	}
	if spec.Delay == nil && spec.Abort == nil || !spec.means(x) {
		return nil
	}
	active := false
	if d := spec.Delay.duration(x.Request); d > 0 && f.begin(x, spec, &active) {
		f.counts.Delays.Add(1)
		x.Record.Flags.Set(flow.DelayInjected)
		if reply := x.Hold(d); reply != nil {
			return reply
		}
	}
	reply := spec.Abort.reply(x.Request)
	if reply == nil || !f.begin(x, spec, &active) {
		return nil
	}
	f.counts.Aborts.Add(1)
	return reply
}

// begin counts a request that is in trouble, once, for as long as it lasts.
func (f *Fault) begin(x *proxy.Exchange, spec *FaultSpec, active *bool) bool {
	if *active {
		return true
	}
	most := int64(math.MaxInt64)
	if spec.MaxActive != nil {
		most = int64(*spec.MaxActive)
	}
	if f.counts.Active.Load() >= most {
		f.counts.Overflow.Add(1)
		return false
	}
	f.counts.Active.Add(1)
	x.OnEnd(func() { f.counts.Active.Add(-1) })
	*active = true
	return true
}

// means reports whether a request is among those to be troubled.
func (s *FaultSpec) means(x *proxy.Exchange) bool {
	if s.Cluster != "" && s.Cluster != x.Record.Upstream.Cluster {
		return false
	}
	if len(s.Nodes) > 0 {
		node, ok := x.Request.Header.Get(faultDownstreamNodeName)
		if !ok || !slices.Contains(s.Nodes, node) {
			return false
		}
	}
	for i := range s.Headers {
		if !s.Headers[i].Match(x.Request) {
			return false
		}
	}
	return true
}

// duration is how long a request is delayed; 0 is not at all.
func (d *Delay) duration(r *httpmsg.Request) time.Duration {
	if d == nil {
		return 0
	}
	if !d.Asked {
		if !d.Share.hit(rand.Uint64()) { //nolint:gosec // chance
			return 0
		}
		return d.For
	}
	v, ok := r.Header.Get(faultDelayHeader)
	if !ok || !d.Share.limited(&r.Header, faultDelayShareHeader).hit(rand.Uint64()) { //nolint:gosec // as above
		return 0
	}
	ms, err := strconv.ParseUint(v, 10, 40)
	if err != nil {
		return 0
	}
	return time.Duration(ms) * time.Millisecond //nolint:gosec // forty bits
}

// reply is how a request is aborted; nil where it is not.
func (a *Abort) reply(r *httpmsg.Request) *proxy.Reply {
	if a == nil {
		return nil
	}
	share := a.Share
	if a.Asked {
		share = share.limited(&r.Header, faultAbortShareHeader)
	}
	if !share.hit(rand.Uint64()) { //nolint:gosec // chance
		return nil
	}
	out := proxy.Aborted(a.Status)
	grpc := a.GRPC
	if a.Asked {
		out.Status, grpc = asked(&r.Header)
	}
	switch {
	case out.Status != 0:
	case grpc != nil:
		out.Status, out.GRPCStatus, out.GRPCSet = 200, *grpc, true
	default:
		return nil
	}
	return out
}

// asked reads the status that a request wants.
func asked(h *httpmsg.Header) (status int, grpc *int) {
	if n, err := strconv.Atoi(h.Value(faultAbortHeader)); err == nil && n >= 200 && n < 600 {
		return n, nil
	}
	if n, err := strconv.ParseUint(h.Value(faultAbortGRPCHeader), 10, 31); err == nil {
		code := int(n)
		return 0, &code
	}
	return 0, nil
}
