package http2

import "sync/atomic"

// The states of a bell.
const (
	bellRunning int32 = iota
	bellParked
	bellRung
)

// bell wakes the one goroutine that waits on it. A ring before the wait is not lost,
// and many rings are one.
type bell struct {
	state atomic.Int32
	ch    chan struct{}
}

func newBell() bell { return bell{ch: make(chan struct{}, 1)} }

// ring never waits.
func (b *bell) ring() {
	if b.state.Swap(bellRung) == bellParked {
		b.ch <- struct{}{}
	}
}

// wait returns when the bell was rung since the last wait.
func (b *bell) wait() {
	if b.state.CompareAndSwap(bellRunning, bellParked) {
		<-b.ch
	}
	b.state.Store(bellRunning)
}

// mute forgets a ring.
func (b *bell) mute() { b.state.Store(bellRunning) }
