package http2

import "github.com/outrigger-mesh/outrigger/proxy/httpmsg"

// pump sends a request's body while the response is awaited.
type pump struct {
	s     *ClientStream
	cargo cargo
	done  chan struct{}
	work  func()

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
	p.cargo.run(&p.s.stream)
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
}
