package upstream

import (
	"context"
	"sync"
)

// live knows everything of a cluster that is under way: connections, dials, fills.
// Close uses it to wait for them and, in the end, to cut them short.
type live struct {
	mu      sync.Mutex
	refused bool                // guarded by mu
	things  map[killer]struct{} // guarded by mu
	empty   chan struct{}       // guarded by mu; closed by remove once refused and empty
	killed  bool                // guarded by mu
}

// killer is something under way. After kill it ends soon, and removes itself.
type killer interface{ kill() }

// cancel is a running function with a context.
type cancel struct{ stop context.CancelCauseFunc }

func (c *cancel) kill() { c.stop(ErrClosed) }

func (l *live) init() {
	l.things = make(map[killer]struct{})
	l.empty = make(chan struct{})
}

// add reports whether k may go on.
func (l *live) add(k killer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused {
		return false
	}
	l.things[k] = struct{}{}
	return true
}

// swap replaces what becomes something else: a dial that became a connection.
func (l *live) swap(from, to killer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.killed {
		return false
	}
	delete(l.things, from)
	l.things[to] = struct{}{}
	return true
}

func (l *live) remove(k killer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.things[k]; !ok {
		return
	}
	delete(l.things, k)
	if l.refused && len(l.things) == 0 {
		close(l.empty)
	}
}

func (l *live) closing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// refuse lets nothing new begin.
func (l *live) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused {
		return
	}
	l.refused = true
	if len(l.things) == 0 {
		close(l.empty)
	}
}

// wait returns when everything has ended; what is left when ctx ends is killed, and
// counted.
func (l *live) wait(ctx context.Context) (killed int) {
	select {
	case <-l.empty:
		return 0
	case <-ctx.Done():
	}
	l.mu.Lock()
	l.killed = true
	left := make([]killer, 0, len(l.things))
	for k := range l.things {
		left = append(left, k)
	}
	l.mu.Unlock()
	for _, k := range left {
		k.kill()
	}
	<-l.empty
	return len(left)
}
