package filter

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
)

var (
	_ proxy.Filter = (*Late)(nil)
	_ proxy.Filter = Closed{}
)

// lateWait is how long a request waits for a filter's configuration that has never
// arrived.
const lateWait = 5 * time.Second

// Late is a filter whose configuration arrives apart from its chain's, and may change
// while connections go on (Envoy's extension configuration discovery).
type Late struct {
	await func(context.Context) // immutable; returns when something has arrived, or ctx ends

	now atomic.Pointer[arrived] // nil is nothing yet
}

type arrived struct {
	filter proxy.Filter // nil has nothing to do
}

// NewLate makes a filter that has no configuration yet.
func NewLate(await func(context.Context)) *Late { return &Late{await: await} }

// Publish sets what the filter does from now on; nil is nothing.
func (l *Late) Publish(f proxy.Filter) { l.now.Store(&arrived{f}) }

// Withdraw takes the configuration away.
func (l *Late) Withdraw() { l.now.Store(nil) }

// Ready reports whether there is a configuration.
func (l *Late) Ready() bool { return l.now.Load() != nil }

// Request does what is configured. Without a configuration it answers 500, as Envoy
// does: what is missing may be what guards.
func (l *Late) Request(x *proxy.Exchange) *proxy.Reply {
	a := l.now.Load()
	if a == nil {
		ctx, cancel := context.WithTimeout(x.Context(), lateWait)
		l.await(ctx)
		cancel()
		if a = l.now.Load(); a == nil {
			return &proxy.Reply{Status: 500, Flag: flow.NoFilterConfigFound, Flagged: true}
		}
	}
	if a.filter == nil {
		return nil
	}
	return a.filter.Request(x)
}

// Closed stands for a module that is not run and must not be left out.
type Closed struct{}

// Request answers 500.
func (Closed) Request(*proxy.Exchange) *proxy.Reply {
	return &proxy.Reply{Status: 500, Details: "extension_not_supported"}
}
