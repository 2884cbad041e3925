package relay

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// Edit is one kind of change, and how often it was made.
type Edit struct {
	// Where is the place in the configuration, What was done there.
	Where, What string
	Count       int
}

// String tells the edit in a line.
func (e Edit) String() string { return fmt.Sprintf("%5d × %s: %s", e.Count, e.Where, e.What) }

// ledger counts edits.
type ledger struct {
	mu     sync.Mutex
	counts map[[2]string]int // guarded by mu
}

func newLedger() *ledger { return &ledger{counts: map[[2]string]int{}} }

func (l *ledger) note(where, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[[2]string{where, what}]++
}

func (l *ledger) list() []Edit {
	l.mu.Lock()
	defer l.mu.Unlock()
	edits := make([]Edit, 0, len(l.counts))
	for k, n := range l.counts {
		edits = append(edits, Edit{k[0], k[1], n})
	}
	slices.SortFunc(edits, func(a, b Edit) int { return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.What, b.What)) })
	return edits
}
