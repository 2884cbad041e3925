package proxy

import (
	"sync"
	"time"
)

// alarm does something once when its time has come, unless it was stopped before:
// when stop has returned, it is not doing it and never will.
type alarm struct {
	mu      sync.Mutex
	timer   *time.Timer // guarded by mu
	stopped bool        // guarded by mu
}

// start sets the alarm; the first call counts.
func (a *alarm) start(d time.Duration, ring func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped || a.timer != nil {
		return
	}
	a.timer = time.AfterFunc(d, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !a.stopped {
			a.stopped = true
			ring()
		}
	})
}

func (a *alarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	if a.timer != nil {
		a.timer.Stop()
	}
}
