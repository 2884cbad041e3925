package http2

import (
	"sync"
	"time"
)

// maxParked is how many workers of a connection wait for streams; more than so many
// come and go.
const maxParked = 128

// parkedFor is how long workers wait for a stream before all of them go home.
const parkedFor = int64(2 * time.Second)

// crew are the goroutines that run a downstream's handlers. They are parked between
// streams, so that their stacks, which a handler has grown, are used again.
type crew struct {
	c *ServerConn

	// guarded by the connection's lock
	parked  []*worker
	backlog []*exchange // streams for which there was nobody
	used    bool        // since look was called last
	again   int64       // when to look next; 0 is never
	over    bool

	working sync.WaitGroup
}

// worker is one of them.
type worker struct {
	c    *ServerConn
	work chan *exchange // nil sends it home
}

func (w *crew) init(c *ServerConn) { w.c = c }

// serve gives a stream to a worker. The caller holds the lock.
func (w *crew) serve(x *exchange) {
	w.used = true
	if n := len(w.parked); n > 0 {
		to := w.parked[n-1]
		w.parked[n-1] = nil
		w.parked = w.parked[:n-1]
		w.c.busy++
		to.work <- x
		return
	}
	if w.c.busy >= int(w.c.set.MaxConcurrentStreams) {
		x.waited = true
		w.backlog = append(w.backlog, x)
		return
	}
	w.c.busy++
	to := &worker{c: w.c, work: make(chan *exchange, 1)}
	to.work <- x
	w.working.Go(to.run)
}

// run serves streams until there are none for a while.
func (w *worker) run() {
	for x := range w.work {
		for x != nil {
			x.serve()
			x = w.c.crew.rest(w)
		}
	}
}

// rest parks a worker that is done, or sends it home, or gives it the next stream.
func (w *crew) rest(from *worker) *exchange {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(w.backlog) > 0 {
		x := w.backlog[0]
		w.backlog[0] = nil
		if w.backlog = w.backlog[1:]; len(w.backlog) == 0 {
			w.backlog = nil
		}
		return x
	}
	c.busy--
	c.leaveLocked()
	if w.over || len(w.parked) >= maxParked {
		close(from.work)
		return nil
	}
	w.parked = append(w.parked, from)
	if w.again == 0 {
		w.again = c.since(time.Now()) + parkedFor
		c.clock.arm(w.again)
	}
	return nil
}

// look sends everybody home after a while without work, and returns when to look
// again.
func (w *crew) look(now int64) int64 {
	if w.again == 0 || now < w.again {
		return w.again
	}
	w.again = 0
	if w.used {
		w.used = false
		w.again = now + parkedFor
		return w.again
	}
	w.home()
	return 0
}

func (w *crew) home() {
	for i, p := range w.parked {
		close(p.work)
		w.parked[i] = nil
	}
	w.parked = nil
}

// dismiss waits until all streams are served, and for the workers.
func (w *crew) dismiss() {
	w.c.mu.Lock()
	w.over = true
	w.home()
	w.c.mu.Unlock()
	w.working.Wait()
}
