package proxy

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy/crash"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/upstream"
)

const (
	// maxMirrored is how many copies may be on their way at a time.
	maxMirrored = 1024
	// mirrorPatience is how long a copy may take where its rule has no timeout.
	mirrorPatience = 5 * time.Minute
)

// Mirror is a cluster that gets a copy of a share of a rule's requests.
type Mirror struct {
	Cluster *upstream.Cluster
	// Numerator of Denominator requests are copied, by the stream's random number.
	Numerator, Denominator uint64
	// KeepHost leaves the authority without "-shadow".
	KeepHost bool
}

// Mirrors sends copies of requests for which nobody waits, and whose responses nobody
// reads. It outlives connections: Close ends it.
type Mirrors struct {
	// immutable
	from   netip.Addr
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // the life of all copies
	cancel context.CancelFunc

	active  atomic.Int64
	dropped atomic.Uint64

	mu     sync.Mutex
	closed bool           // guarded by mu
	wg     sync.WaitGroup // counts up under mu
}

// NewMirrors makes the sender of copies. They say in x-forwarded-for that they come
// from that address.
func NewMirrors(from netip.Addr, log *slog.Logger) *Mirrors {
	m := &Mirrors{from: from, log: log}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Close ends all copies and waits for their end.
func (m *Mirrors) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
}

// Dropped counts the copies that were not sent since there were too many, or whose
// upstream was slower than the request's own.
func (m *Mirrors) Dropped() uint64 { return m.dropped.Load() }

// begin takes one of the places for copies.
func (m *Mirrors) begin() bool {
	if m.active.Add(1) > maxMirrored {
		m.active.Add(-1)
		m.dropped.Add(1)
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		m.active.Add(-1)
		return false
	}
	m.wg.Add(1)
	return true
}

func (m *Mirrors) end() {
	m.active.Add(-1)
	m.wg.Done()
}

// mirror sends the copies that the rule asks for. The request is as it goes upstream.
func (x *Exchange) mirror() {
	ms := x.h.spec.Mirrors
	if ms == nil || x.Request.Method == connectMethod || x.Request.Upgrade != "" {
		return
	}
	for i := range x.Rule.Mirrors {
		m := &x.Rule.Mirrors[i]
		if x.Random%m.Denominator >= m.Numerator || !ms.begin() {
			continue
		}
		c := &carbon{owner: ms, mirror: m, opts: x.h.openFor(x.Request), patience: x.trip.timeout}
		c.request = ms.copyOf(x.Request, m)
		if x.body.src != nil {
			c.body = newCarbonBody()
			c.request.Body = c.body
			c.body.dropped, c.patience = &ms.dropped, 0 // its timeout begins with the end of the request
			x.body.copyTo(c.body)
		}
		go c.run() //nolint:contextcheck // it outlives the exchange; Close joins it
	}
}

// copyOf is the request as a mirror gets it, with strings of its own.
func (m *Mirrors) copyOf(r *httpmsg.Request, to *Mirror) *httpmsg.Request {
	out := &httpmsg.Request{
		Method: strings.Clone(r.Method), Scheme: strings.Clone(r.Scheme), Authority: strings.Clone(r.Authority), Path: strings.Clone(r.Path),
		Protocol: r.Protocol, Header: r.Header.Clone(), Body: httpmsg.NoBody, ContentLength: r.ContentLength,
	}
	if !to.KeepHost {
		out.Authority = shadowOf(r.Authority)
	}
	out.Header.Set("x-envoy-internal", "true")
	from := m.from.String()
	if old, ok := out.Header.Get("x-forwarded-for"); ok {
		out.Header.Set("x-forwarded-for", joined(old, from))
	} else {
		out.Header.Add("x-forwarded-for", from)
	}
	return out
}

// shadowOf marks an authority, before its port.
func shadowOf(authority string) string {
	const mark = "-shadow"
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		return authority[:i] + mark + authority[i:]
	}
	return authority + mark
}

// carbon is one copy on its way.
type carbon struct {
	owner    *Mirrors
	mirror   *Mirror
	opts     *upstream.OpenOptions
	request  *httpmsg.Request
	body     *carbonBody // nil without
	patience time.Duration
	bug      crash.Box
}

var errMirrorEnded = &flow.Error{Side: flow.SideInternal, Kind: flow.KindCancelled, Details: "mirror_ended"}

// tell says that a bug ended the copy: nobody waits for it who would.
func (c *carbon) tell() {
	if c.bug.Caught() {
		c.owner.dropped.Add(1)
		c.owner.log.Error("mirrored request panicked", "panic", c.bug.Text())
	}
}

// run sends the copy and reads its response to the end.
func (c *carbon) run() {
	defer c.owner.end()
	defer c.tell()
	defer c.bug.Catch()
	defer c.body.giveUp()
	patience := c.patience
	if patience <= 0 {
		patience = mirrorPatience
	}
	ctx, cancel := context.WithTimeout(c.owner.ctx, patience)
	defer cancel()
	cluster := c.mirror.Cluster
	if cluster == nil || cluster.Ensure(ctx) != nil {
		return
	}
	ep, err := cluster.Pick(&lb.Hint{MaxPicks: 1})
	if err != nil {
		return
	}
	stream, err := cluster.Open(ctx, ep, c.opts)
	if err != nil {
		return
	}
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		c.body.giveUp()
		stream.Abort(errMirrorEnded)
	})
	if resp, err := stream.RoundTrip(c.request, time.Time{}); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if !stop() {
		<-over
	}
	stream.Close()
}

// carbonBody is the copy of a body: what the request's own upstream has taken, and the
// mirror has not.
type carbonBody struct {
	dropped *atomic.Uint64 // immutable

	mu      sync.Mutex
	arrived sync.Cond
	rest    []byte // guarded by mu
	done    bool   // guarded by mu; the whole body is here
	gone    bool   // guarded by mu; nobody reads, or nothing will come
}

func newCarbonBody() *carbonBody {
	b := &carbonBody{}
	b.arrived.L = &b.mu
	return b
}

// feed adds what has passed. It reports false where nobody takes it, or too slowly.
func (b *carbonBody) feed(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.gone && len(b.rest)+len(p) > replayLimit {
		b.gone = true
		b.rest = nil
		b.dropped.Add(1)
		b.arrived.Broadcast()
	}
	if b.gone {
		return false
	}
	b.rest = append(b.rest, p...)
	b.arrived.Broadcast()
	return true
}

// finish says that all of the body has passed.
func (b *carbonBody) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
	b.arrived.Broadcast()
}

// giveUp ends a copy whose body will not be complete, or is not read any more. It may
// be called on nil.
func (b *carbonBody) giveUp() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = !b.done || b.gone
	b.arrived.Broadcast()
}

// Read waits for what comes.
func (b *carbonBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.rest) == 0 && !b.done && !b.gone {
		b.arrived.Wait()
	}
	switch {
	case b.gone:
		return 0, errMirrorEnded
	case len(b.rest) == 0:
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Buffered is what Read returns without waiting.
func (b *carbonBody) Buffered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rest) == 0 && b.done {
		return -1
	}
	return len(b.rest)
}

// Close ends a Read that waits.
func (b *carbonBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	b.rest = nil
	b.arrived.Broadcast()
	return nil
}
