package load

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/poll"
)

// polledBuffer is shared by all connections of a polled run.
const polledBuffer = 256 << 10

// polled reads all connections of a run in one thread, and sends what is due. Most of
// what a goroutine for each would cost is waking it.
type polled struct {
	engine  *engine         // immutable
	poller  *poll.Poller    // immutable
	running *sync.WaitGroup // immutable

	buffer []byte   // owned by run
	rest   [][]byte // owned by run; what each lane could not use yet

	plan  *timetable    // owned by run; nil in a closed loop, and after the last request
	due   time.Duration // owned by run; the next one
	stuck bool          // owned by run; it is due and no lane is free
}

func newPolled(e *engine, running *sync.WaitGroup) (*polled, error) {
	poller, err := poll.New()
	if err != nil {
		return nil, err
	}
	p := &polled{engine: e, poller: poller, running: running, buffer: make([]byte, polledBuffer), rest: make([][]byte, len(e.lanes))}
	for i := range e.lanes {
		if err := p.watch(i); err != nil {
			return nil, errors.Join(err, poller.Close())
		}
	}
	return p, nil
}

// watch begins to read a lane's connection.
func (p *polled) watch(i int) error {
	return p.poller.Add(p.socket(i).FD(), int32(i)) //nolint:gosec // lanes are few
}

func (p *polled) socket(i int) *poll.Socket {
	l := p.engine.lanes[i]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn.(polledConn).Socket
}

// run reads and sends until ctx ends.
func (p *polled) run(ctx context.Context) {
	poll.Precise()
	unhook := context.AfterFunc(ctx, p.poller.Wake)
	defer func() {
		unhook()
		_ = p.poller.Close()
	}()
	if p.engine.shape.Rate > 0 {
		p.engine.offer()
		p.plan = newTimetable(&p.engine.shape)
		p.advance()
	}
	for ctx.Err() == nil {
		events, err := p.poller.Wait(p.sendDue())
		if err != nil {
			p.engine.fail(err, maxErrors)
			return
		}
		for _, e := range events {
			if e.ID >= 0 {
				p.read(ctx, int(e.ID))
			}
		}
	}
}

// advance looks up the next request.
func (p *polled) advance() {
	var ok bool
	if p.due, ok = p.plan.next(); !ok {
		p.plan = nil
		p.engine.ended(1)
	}
}

// sendDue sends what is due and returns how long to wait for the next; negative is until
// something happens.
func (p *polled) sendDue() time.Duration {
	e := p.engine
	for p.plan != nil {
		now := e.now()
		if now < p.due {
			return p.due - now
		}
		select {
		case l := <-e.free:
			e.open.Add(1)
			l.send(p.due)
		default:
			p.stuck = true
			return -1
		}
		if !p.stuck { // else it waited for an answer
			e.late(p.due, now-p.due)
		}
		p.stuck = false
		p.advance()
	}
	return -1
}

// read takes what has come on a lane.
func (p *polled) read(ctx context.Context, i int) {
	l := p.engine.lanes[i]
	have := copy(p.buffer, p.rest[i])
	n, err := p.socket(i).Read(p.buffer[have:])
	if errors.Is(err, syscall.EAGAIN) {
		return
	}
	have += n
	if n > 0 {
		used, wrong := l.consume(p.buffer[:have])
		if wrong == nil && used == 0 && have == len(p.buffer) {
			wrong = errBroken
		}
		p.rest[i] = append(p.rest[i][:0], p.buffer[used:have]...)
		err = wrong
	}
	if err == nil {
		return
	}
	p.rest[i] = nil
	l.lose(err)
	p.running.Go(func() {
		if l.redial(ctx) && p.watch(i) != nil {
			l.hangUp()
		}
	})
}

// polledConn is a lane's socket that is read by a polled.
type polledConn struct{ *poll.Socket }

func takeOver(conn net.Conn) (io.ReadWriteCloser, error) {
	s, err := poll.Take(conn)
	if err != nil {
		return nil, err
	}
	return polledConn{s}, nil
}

// Write sends all of b. Requests fit the socket's buffer; where they do not, because the
// other side does not read, nobody is served until it does, or the time is up.
func (c polledConn) Write(b []byte) (int, error) {
	sent := 0
	var limit time.Time
	for sent < len(b) {
		n, err := c.Socket.Write(b[sent:])
		sent += n
		switch {
		case errors.Is(err, syscall.EAGAIN):
			if limit.IsZero() {
				limit = time.Now().Add(drainTime)
			} else if time.Now().After(limit) {
				return sent, errStuck
			}
			sleep(50 * time.Microsecond)
		case err != nil:
			return sent, err
		}
	}
	return sent, nil
}

var errStuck = errors.New("nobody reads the requests")
