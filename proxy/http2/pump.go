package http2

import (
	"errors"

	"github.com/outrigger-mesh/outrigger/proxy/crash"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// errBug ends an exchange whose pump panicked; the panic is what is told.
var errBug = errors.New("pump panicked")

// pump sends a request's body while the response is awaited.
type pump struct {
	s     *ClientStream
	cargo cargo
	done  chan struct{}
	work  func()
	bug   crash.Box // told by join

	running bool // owned by the exchange's goroutine
	halted  bool // guarded by the connection's lock
}

func (p *pump) init(s *ClientStream) {
	p.s = s
	p.done = make(chan struct{}, 1)
	p.work = p.run
}

func (p *pump) start() {
	p.running, p.halted = true, false
	go p.work()
}

// run sends, and ends the wait for a response to a request that cannot be completed.
// An upstream that does not take the request may yet have answered it.
func (p *pump) run() {
	defer p.ended()
	defer p.bug.Catch()
	p.cargo.run(&p.s.stream)
}

// ended ends the wait for a response where that is of no use, and for the pump.
func (p *pump) ended() {
	if p.bug.Caught() {
		p.cargo.readErr = errBug
	}
	c := p.s.c
	c.mu.Lock()
	switch {
	case p.halted:
	case p.cargo.readErr != nil:
		p.s.abortLocked(p.cargo.readErr)
	case p.cargo.sendErr != nil && p.s.id == 0:
		p.s.abortLocked(p.cargo.sendErr)
	}
	c.mu.Unlock()
	c.flush()
	p.done <- struct{}{}
}

// join stops the pump, and waits for it.
func (p *pump) join() {
	c := p.s.c
	c.mu.Lock()
	p.halted = true
	unsent := !p.s.sent.end
	if unsent && p.s.id != 0 {
		c.resetLocked(&p.s.stream, codeCancel)
	} else if unsent && p.s.err == nil {
		p.s.err = errClosed
	}
	p.s.send.ring()
	c.mu.Unlock()
	c.flush()
	body := p.cargo.from
	in, ok := body.(httpmsg.Interruptible)
	switch {
	case !unsent:
	case ok:
		in.Interrupt()
	default:
		_ = body.Close()
	}
	<-p.done
	if ok && unsent {
		in.Resume()
	}
	p.running = false
	p.bug.Rethrow()
}
