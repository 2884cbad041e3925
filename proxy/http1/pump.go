package http1

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/crash"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// pumpGrace is how long the last bytes of a request may take once its response has
// ended.
const pumpGrace = time.Second

// pump copies a request's body upstream while the response is awaited. It runs on
// its own goroutine, at most one per exchange.
type pump struct {
	c    *ClientConn
	r    *httpmsg.Request
	s    sender
	t    transfer
	done chan struct{}

	running bool // owned by the exchange's goroutine
	// source is what reading the body failed with; set before done.
	source error
	// last is true when the write that completes the request is being done.
	last    atomic.Bool
	stopped atomic.Bool
	bug     crash.Box // told by join
}

func newPump(c *ClientConn) *pump {
	p := &pump{c: c, done: make(chan struct{}, 1)}
	p.t.last = func() { p.last.Store(true) }
	return p
}

// start takes over a sender that holds the request's head.
func (p *pump) start(r *httpmsg.Request, s sender) {
	p.r, p.s, p.source = r, s, nil
	last := p.t.last
	p.t = transfer{from: stoppable{r.Body, &p.stopped}, length: r.ContentLength, chunked: r.ContentLength < 0, last: last}
	if p.c.o.EnableTrailers {
		p.t.trailer = &r.Trailer
	}
	p.last.Store(false)
	p.stopped.Store(false)
	p.running = true
	go p.run()
}

// run copies, and ends the wait for a response to a request that cannot be
// completed. An upstream that does not take the request may yet have answered it, so
// that its side is left to the reader.
func (p *pump) run() {
	defer p.ended()
	defer p.bug.Catch()
	p.t.run(&p.s)
	p.s.close()
}

// ended ends the wait for the response, where that is of no use any more, and for the
// pump.
func (p *pump) ended() {
	if p.bug.Caught() {
		p.t.readErr = errBug
	}
	if p.t.readErr != nil && !p.stopped.Load() {
		p.source = &sourceError{p.t.readErr}
		p.c.rd.interrupt()
	}
	p.done <- struct{}{}
}

// join waits for the pump, which it stops unless the request is on its last bytes
// and the response came to a good end. It reports whether the request was sent.
func (p *pump) join(clean bool) bool {
	if clean && p.last.Load() {
		_ = p.c.conn.SetWriteDeadline(time.Now().Add(pumpGrace)) // fails only where the write does too
		<-p.done
		_ = p.c.conn.SetWriteDeadline(time.Time{})
		p.running = false
		p.bug.Rethrow()
		return p.t.writeErr == nil && p.t.readErr == nil
	}
	p.stopped.Store(true)
	_ = p.c.conn.SetWriteDeadline(past())
	in, ok := p.r.Body.(httpmsg.Interruptible)
	if ok {
		in.Interrupt()
	} else {
		_ = p.r.Body.Close()
	}
	<-p.done
	if ok {
		in.Resume()
	}
	p.running = false
	p.bug.Rethrow()
	return false
}

// errBug ends an exchange whose pump panicked; the panic is what is told.
var errBug = errors.New("pump panicked")

// errStopped ends a pump between two reads.
var errStopped = errors.New("pump was stopped")

// stoppable is a body that is not read any more once stopped.
type stoppable struct {
	httpmsg.Body
	stopped *atomic.Bool
}

// Read fails once stopped.
func (s stoppable) Read(p []byte) (int, error) {
	if s.stopped.Load() {
		return 0, errStopped
	}
	return s.Body.Read(p)
}
