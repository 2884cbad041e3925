package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// load is a stream of questions from a pod to an address.
type load struct {
	from  *testmesh.Pod
	to    string // host:port
	conns int
	rate  int // a second; 0: as fast as the answers come
	total int // 0: until stopped
}

// tally is what came of a load so far.
type tally struct {
	asked, failed int
	by            map[string]int // answers by pod
	errors        map[string]int
	failures      []answer // the first of those without answer
}

// keptFailures is how many failures a tally remembers.
const keptFailures = 20

// why lists the errors, the most frequent first.
func (t *tally) why() string {
	texts := slices.SortedFunc(maps.Keys(t.errors), func(a, b string) int { return t.errors[b] - t.errors[a] })
	for i, text := range texts {
		texts[i] = fmt.Sprintf("%d × %s", t.errors[text], text)
	}
	return strings.Join(texts[:min(3, len(texts))], "; ")
}

// none returns an error if any question failed.
func (t *tally) none() error {
	if t.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s requests failed: %s", t.failed, count(t.asked), t.why())
}

// running is a load that was started.
type running struct {
	// immutable
	cancel context.CancelFunc
	each   func(answer)

	wg sync.WaitGroup

	mu      sync.Mutex
	tally   tally // guarded by mu
	started int   // guarded by mu
}

// start starts the load. each, which may be nil, is called with every answer,
// one at a time. A load that is not stopped ends with ctx.
func (l load) start(ctx context.Context, each func(answer)) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{cancel: cancel, each: each, tally: tally{by: map[string]int{}, errors: map[string]int{}}}
	for i := range l.conns {
		r.wg.Go(func() { r.work(ctx, &l, i) })
	}
	return r
}

// work asks on one connection, the number-th of the load.
func (r *running) work(ctx context.Context, l *load, number int) {
	c := &caller{pod: l.from, addr: l.to, path: "/"}
	defer c.close()
	var pace <-chan time.Time
	if l.rate > 0 {
		apart := time.Second / time.Duration(l.rate)
		if !sleep(ctx, apart*time.Duration(number)) {
			return
		}
		tick := time.NewTicker(apart * time.Duration(l.conns))
		defer tick.Stop()
		pace = tick.C
	}
	for r.next(l.total) {
		if pace != nil {
			select {
			case <-pace:
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		r.add(c.ask(context.WithoutCancel(ctx))) // a question asked is waited for
	}
}

// next reports whether there is another question to ask.
func (r *running) next(total int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
	return total == 0 || r.started <= total
}

func (r *running) add(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.tally
	t.asked++
	if a.err != nil {
		t.failed++
		t.errors[cause(a.err)]++
		if len(t.failures) < keptFailures {
			t.failures = append(t.failures, a)
		}
	} else {
		t.by[a.from.Pod]++
	}
	if r.each != nil {
		r.each(a)
	}
}

// cause returns what lies at the bottom of an error, without addresses.
func cause(err error) string {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}

// soFar returns a copy of the tally.
func (r *running) soFar() tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tally
	t.by, t.errors, t.failures = maps.Clone(t.by), maps.Clone(t.errors), slices.Clone(t.failures)
	return t
}

// watch returns what draws a load that runs: how many, and who answers.
func (r *running) watch(s *screen) func() []string {
	began := time.Now()
	return func() []string {
		t := r.soFar()
		status := fmt.Sprintf("%s%s, %d failed  %s", indent, requests(t.asked), t.failed, s.paint(dim, span(time.Since(began))))
		table := table{heads: []string{"", ">", ""}}
		for _, pod := range slices.Sorted(maps.Keys(t.by)) {
			table.add(pod, count(t.by[pod]), s.bar(t.share(pod)/100, 30))
		}
		return append([]string{status}, s.lines(&table)...)
	}
}

// wait waits until the load has asked everything, or was stopped.
func (r *running) wait() tally {
	r.wg.Wait()
	r.cancel()
	return r.soFar()
}

// stop asks nothing more and waits for the last answers.
func (r *running) stop() tally {
	r.cancel()
	return r.wait()
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// until repeats ok every few milliseconds until it is true.
func until(ctx context.Context, limit time.Duration, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !ok() {
		if !sleep(ctx, 5*time.Millisecond) {
			return fmt.Errorf("%s did not happen within %v", what, limit)
		}
	}
	return nil
}
