package http1

import (
	"sync"
	"time"
)

// watchDelay is how long an upstream is awaited before the downstream is watched.
// Fast exchanges pay for a timer that is set and stopped, and nothing else.
const watchDelay = 50 * time.Millisecond

// watch reads a downstream while its exchange waits for an upstream, to find out
// when it leaves. What it reads is the start of the next request.
type watch struct {
	c *ServerConn

	mu      sync.Mutex
	cond    *sync.Cond
	timer   *time.Timer
	gone    func()
	reading bool
}

// Watch has gone called when the downstream leaves before Unwatch.
func (w *responder) Watch(gone func()) { w.c.watch.start(gone) }

// Unwatch ends Watch; gone is not called any more when it returns.
func (w *responder) Unwatch() { w.c.watch.stop() }

func (w *watch) start(gone func()) {
	w.mu.Lock()
	w.gone = gone
	if w.timer == nil {
		w.cond = sync.NewCond(&w.mu)
		w.timer = time.AfterFunc(watchDelay, w.run)
	} else {
		w.timer.Reset(watchDelay)
	}
	w.mu.Unlock()
}

func (w *watch) stop() {
	if w.timer == nil || w.timer.Stop() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = nil
	w.timer.Stop() // run may have set it again
	if !w.reading {
		return
	}
	w.c.rd.interrupt()
	for w.reading {
		w.cond.Wait()
	}
	w.c.rd.resume()
}

// run watches on the timer's goroutine. While the request is not complete, whoever
// reads its body sees the downstream leave.
func (w *watch) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone == nil || w.reading {
		return
	}
	if !w.c.body.complete.Load() {
		w.timer.Reset(watchDelay)
		return
	}
	gone := w.gone
	w.reading = true
	w.mu.Unlock()
	left := w.read()
	if left {
		gone()
	}
	w.mu.Lock()
	w.reading = false
	w.cond.Broadcast()
}

// read buffers what comes until the stream ends, which it reports, or there is no
// more room, or it is interrupted.
func (w *watch) read() (left bool) {
	rd := &w.c.rd
	rd.perRead, rd.limit = 0, time.Time{}
	for !rd.stop.Load() {
		if err := rd.fill(); err != nil {
			return rd.err != nil
		}
	}
	return false
}
