package resolve

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// DefaultRefresh is Envoy's default of dns_refresh_rate.
const DefaultRefresh = 5 * time.Second

// leastRefresh is the least time between two lookups of a name.
const leastRefresh = time.Second / 2

// Schedule says how names are watched.
type Schedule struct {
	Family Family
	// Refresh is the time between two lookups; 0 means DefaultRefresh.
	Refresh time.Duration
	// RespectTTL takes the answer's time to live instead, where it has one.
	RespectTTL bool
	// Jitter is the most that is added at random.
	Jitter time.Duration
	// FailureBase and FailureMax are the bounds of the pause after failures, which
	// doubles with each; a base of 0 means the usual pause, or DefaultRefresh where that is
	// less, a max of 0 ten times the base.
	FailureBase, FailureMax time.Duration
	// First keeps the answers in their order and one address of an old answer when
	// the new one has none: for clusters that go by the first address. Otherwise
	// order does not count.
	First bool
}

// Watch keeps the answers for some names fresh.
type Watch struct {
	// immutable
	resolver *Resolver
	schedule Schedule
	changed  func(*Watch)
	stop     context.CancelFunc

	mu      sync.Mutex
	answers map[string][]netip.Addr // guarded by mu
	pending int                     // guarded by mu; names without any outcome
}

// Watch begins to look up names. It calls changed, from a goroutine of its own and
// never twice at once for one name, when every name has had an outcome and whenever
// an answer changes after that. It runs until Stop, or the resolver's Close.
func (r *Resolver) Watch(names []string, s Schedule, changed func(*Watch)) *Watch {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	ctx, stop := context.WithCancel(r.running)
	w := &Watch{
		resolver: r, schedule: s, changed: changed, stop: stop,
		answers: make(map[string][]netip.Addr, len(names)), pending: len(names),
	}
	for _, name := range names {
		r.watches.Go(func() { w.follow(ctx, name) })
	}
	return w
}

// Stop ends the watch; changed may be running still.
func (w *Watch) Stop() { w.stop() }

// Settled reports whether every name has had an outcome, be it a failure.
func (w *Watch) Settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending == 0
}

// Addrs is the last answer for a name; it must not be changed.
func (w *Watch) Addrs(name string) []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answers[name]
}

func (w *Watch) follow(ctx context.Context, name string) {
	failures := 0
	for first := true; ; first = false {
		answer, err := w.resolver.Lookup(ctx, name, w.schedule.Family)
		if ctx.Err() != nil {
			return
		}
		failed := err != nil && !errors.Is(err, ErrNoAddress)
		if failed {
			failures++
		} else {
			failures = 0
		}
		if w.take(name, answer.Addrs, failed, first) {
			w.changed(w)
		}
		pause := time.NewTimer(w.schedule.pause(&answer, failures))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// take keeps an outcome, and reports whether that is news.
func (w *Watch) take(name string, addrs []netip.Addr, failed, first bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first {
		w.pending--
	}
	old := w.answers[name]
	same := failed || w.schedule.same(old, addrs)
	if !same {
		w.answers[name] = addrs
	}
	return w.pending == 0 && (first || !same)
}

// same reports whether a new answer changes nothing.
func (s *Schedule) same(old, now []netip.Addr) bool {
	if s.First {
		return len(now) == 0 || slices.Equal(old, now)
	}
	sorted := func(a []netip.Addr) []netip.Addr { return slices.SortedFunc(slices.Values(a), netip.Addr.Compare) }
	return len(old) == len(now) && slices.Equal(sorted(old), sorted(now))
}

// pause is the time until the next lookup. While there is no address, Envoy waits as
// long as otherwise, a minute with istiod's settings; five seconds are enough.
func (s *Schedule) pause(last *Answer, failures int) time.Duration {
	wait := s.Refresh
	if wait <= 0 {
		wait = DefaultRefresh
	}
	switch {
	case failures > 0 && s.FailureBase > 0:
		return max(s.backOff(failures), leastRefresh)
	case len(last.Addrs) == 0:
		wait = min(wait, DefaultRefresh)
	case s.RespectTTL && last.TTL > 0:
		wait = last.TTL
	}
	if s.Jitter > 0 {
		wait += rand.N(s.Jitter)
	}
	return max(wait, leastRefresh)
}

// backOff is at random below the base doubled with each failure, as Envoy's
// jittered exponential back-off.
func (s *Schedule) backOff(failures int) time.Duration {
	most := s.FailureMax
	if most <= 0 {
		most = 10 * s.FailureBase
	}
	wait := s.FailureBase
	for i := 1; i < failures && wait < most; i++ {
		wait *= 2
	}
	return rand.N(max(min(wait, most), 1))
}
