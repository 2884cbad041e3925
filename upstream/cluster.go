package upstream

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/outlier"
)

// Options are what a cluster needs from its surroundings. The zero value works: it
// never fills, dials with the system's sockets and watches no idle connections.
type Options struct {
	// Fill asks for an empty cluster to be published. It is called once for all who
	// wait, and its context is bounded by FillTimeout (0 means 5 s).
	Fill        func(ctx context.Context, c *Cluster) error
	FillTimeout time.Duration
	// Dial makes TCP connections; nil means Dial.
	Dial DialFunc
	// Reaper notices idle connections that the upstream closes. Nil leaves that to
	// the check when a connection is taken from the pool.
	Reaper *Reaper
	Logger *slog.Logger
}

// Cluster is a live cluster. Its methods may be called from any goroutine, but
// Publish, PublishEndpoints and Remove by one writer only.
type Cluster struct {
	// immutable
	name string
	o    Options

	// written by the publisher
	spec    atomic.Pointer[Spec]
	set     atomic.Pointer[lb.Set]
	removed atomic.Bool

	stats    Stats
	usage    [priorities]usage
	onDemand onDemand
	live     live
	detector atomic.Pointer[outlier.Detector] // nil until outliers are to be detected

	publishing sync.Mutex // held by who replaces the set

	mu      sync.Mutex
	filling *filling // guarded by mu
}

// New makes an empty cluster.
func New(name string, o Options) *Cluster {
	if o.Dial == nil {
		o.Dial = Dial
	}
	if o.FillTimeout == 0 {
		o.FillTimeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{name: name, o: o}
	c.set.Store(lb.NewSet(nil, nil, lb.Policy{}))
	c.live.init()
	return c
}

// Name is the cluster's name, also while nothing else is known of it.
func (c *Cluster) Name() string { return c.name }

// Spec is the current spec, or nil while the cluster is empty or removed.
func (c *Cluster) Spec() *Spec { return c.spec.Load() }

// Endpoints is the current set, never nil. Clusters of kind OriginalDst list theirs
// with OnDemand.
func (c *Cluster) Endpoints() *lb.Set { return c.set.Load() }

// Stats are the cluster's counters.
func (c *Cluster) Stats() *Stats { return &c.stats }

// Publish makes spec and set current; a nil set means no endpoints. Connections
// whose socket, source and keep-alive stay the same are kept. Others finish what they
// do and are not used again.
func (c *Cluster) Publish(spec *Spec, set *lb.Set) {
	if set == nil {
		set = lb.NewSet(nil, nil, spec.Policy)
	}
	c.replace(set, func() {
		c.spec.Store(spec)
		c.removed.Store(false)
	})
	for _, e := range c.onDemand.list() {
		berthOf(c, e).bind()
	}
	c.detect(spec)
}

// PublishEndpoints makes the set current under the spec as it is. The idle
// connections of endpoints that are gone close.
func (c *Cluster) PublishEndpoints(set *lb.Set) {
	c.replace(set, func() {})
	c.reweighAnew()
}

// replace makes the set current, and then what else is to be.
func (c *Cluster) replace(set *lb.Set, and func()) {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	old := c.set.Swap(set)
	and()
	c.settle(old, set)
}

// Remove empties the cluster for good, or until it is published again: new flows
// get the flag NC, what is under way goes on.
func (c *Cluster) Remove() {
	c.removed.Store(true)
	c.spec.Store(nil)
	c.replace(lb.NewSet(nil, nil, lb.Policy{}), func() {})
	c.onDemand.clear(c)
	c.detect(nil)
}

// settle gives up the connections that the step from old to now makes useless.
func (c *Cluster) settle(old, now *lb.Set) {
	before, after := old.Endpoints(), now.Endpoints()
	same := 0 // most updates leave the list as it was
	for same < len(before) && same < len(after) && before[same] == after[same] {
		same++
	}
	for _, e := range after {
		if e.Attachment() != nil {
			berthOf(c, e).join()
		}
	}
	if same == len(before) {
		return
	}
	before, after = before[same:], after[same:]
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	stays := make(map[*lb.Endpoint]struct{}, len(after))
	for _, e := range after {
		stays[e] = struct{}{}
	}
	for _, e := range before {
		if _, ok := stays[e]; !ok {
			berthOf(c, e).leave()
		}
	}
}

// Pick chooses an endpoint of the current set; clusters of kind OriginalDst make it
// from the hint. The error is a *flow.Error with flag UH, or NC while the cluster
// is empty.
func (c *Cluster) Pick(h *lb.Hint) (*lb.Endpoint, error) {
	spec := c.spec.Load()
	if spec == nil {
		return nil, noCluster(c.name, ErrUnknown)
	}
	if spec.Kind == OriginalDst {
		if !h.OrigDst.IsValid() || h.OrigDst.Port() == 0 {
			return nil, noEndpoint(ErrNoOriginalDst)
		}
		return c.onDemand.get(c, spec, h.OrigDst), nil
	}
	if spec.Policy.Hashing.BalanceFactor != 0 {
		h.Active = c.usage[DefaultPriority].requests.n.Load()
	}
	e, err := c.set.Load().Pick(h)
	if h.Panicked {
		c.stats.Panics.Add(1)
	}
	if err != nil {
		return nil, noEndpoint(err)
	}
	return e, nil
}

// Close ends the cluster: no new flows from now on, idle connections close at once,
// the others when their flow ends or ctx does. It returns when all is done.
func (c *Cluster) Close(ctx context.Context) {
	c.live.refuse()
	if d := c.detector.Load(); d != nil {
		d.Stop()
	}
	for _, e := range c.set.Load().Endpoints() {
		if e.Attachment() != nil {
			berthOf(c, e).leave()
		}
	}
	c.onDemand.clear(c)
	if killed := c.live.wait(ctx); killed > 0 {
		c.o.Logger.Warn("flows cut short at close", "cluster", c.name, "count", killed)
	}
}
