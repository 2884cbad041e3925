package filter

import (
	"math"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
)

var (
	_ proxy.Filter         = (*RateLimit)(nil)
	_ proxy.ResponseFilter = (*RateLimit)(nil)
)

// RateLimitCounts are named as Envoy's http_local_rate_limit.* statistics.
type RateLimitCounts struct {
	Enabled, OK, Limited, Enforced atomic.Uint64
}

// RateLimitSpec is how many requests may pass.
type RateLimitSpec struct {
	// Bucket is shared by all requests; nil limits nothing.
	Bucket *Bucket
	// Enabled is the share of requests that are looked at, Enforced the share of those
	// beyond the limit that are refused.
	Enabled, Enforced Share

	Status     int
	GRPCStatus int // 0 maps Status
	// Response edits our answers, Request the requests that pass beyond the limit.
	Response, Request *proxy.HeaderEdits
	// Tell has x-ratelimit- headers tell what is left.
	Tell   bool
	Counts *RateLimitCounts
}

// RateLimit refuses requests beyond a rate (envoy.filters.http.local_ratelimit).
type RateLimit struct {
	// immutable
	name proxy.FilterName
	spec RateLimitSpec
}

// NewRateLimit makes the filter of a chain; a rule's *RateLimitSpec takes the place of
// spec.
func NewRateLimit(name proxy.FilterName, spec RateLimitSpec) *RateLimit {
	return &RateLimit{name: name, spec: spec}
}

// Request takes a token, and answers where there is none.
func (l *RateLimit) Request(x *proxy.Exchange) *proxy.Reply {
	spec := &l.spec
	if own, ok := x.Setting(l.name).(*RateLimitSpec); ok {
		spec = own
	}
	if spec.Bucket == nil || !spec.Enabled.hit(rand.Uint64()) { //nolint:gosec // chance
		return nil
	}
	n := spec.Counts
	n.Enabled.Add(1)
	if spec.Tell {
		x.Remember(l, spec.Bucket)
	}
	if spec.Bucket.Take(time.Now()) {
		n.OK.Add(1)
		return nil
	}
	n.Limited.Add(1)
	if !spec.Enforced.hit(rand.Uint64()) { //nolint:gosec // chance
		x.EditRequest(spec.Request)
		return nil
	}
	n.Enforced.Add(1)
	reply := proxy.RateLimited(spec.Status)
	reply.GRPCStatus, reply.Edits = spec.GRPCStatus, spec.Response
	return reply
}

// Response tells what is left.
func (l *RateLimit) Response(x *proxy.Exchange) {
	b, ok := x.Recall(l).(*Bucket)
	if !ok {
		return
	}
	left := b.left(time.Now())
	h := &x.Response.Header
	h.Add("x-ratelimit-limit", strconv.Itoa(int(b.most)))
	h.Add("x-ratelimit-remaining", strconv.Itoa(int(left)))
	next := 0
	if left < 1 {
		next = int(math.Ceil((1 - left) / b.rate))
	}
	h.Add("x-ratelimit-reset", strconv.Itoa(next))
}

// Bucket holds tokens that come back at a steady rate.
type Bucket struct {
	// immutable
	begun time.Time
	most  float64
	rate  float64 // per second

	// empty is when, in seconds since begun, the bucket would have been empty if
	// tokens had come ever since and none had been taken.
	empty atomic.Uint64 // a float64's bits
}

// NewBucket makes a full bucket of most tokens, of which some come back with each
// interval.
func NewBucket(now time.Time, most, some uint32, interval time.Duration) *Bucket {
	b := &Bucket{begun: now, most: float64(most), rate: float64(some) / interval.Seconds()}
	b.empty.Store(math.Float64bits(-b.most / b.rate))
	return b
}

// Take takes a token, where there is one.
func (b *Bucket) Take(now time.Time) bool {
	at := now.Sub(b.begun).Seconds()
	for {
		old := b.empty.Load()
		empty := max(math.Float64frombits(old), at-b.most/b.rate) // a bucket does not overflow
		if (at-empty)*b.rate < 1-1e-9 {
			return false
		}
		if b.empty.CompareAndSwap(old, math.Float64bits(empty+1/b.rate)) {
			return true
		}
	}
}

// left is how many tokens there are.
func (b *Bucket) left(now time.Time) float64 {
	return min(b.most, (now.Sub(b.begun).Seconds()-math.Float64frombits(b.empty.Load()))*b.rate+1e-9)
}
