package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Sizes of a lane's read buffer: whole frames and heads must fit.
const readBuffer = 64 << 10

// lane is one connection and what it does when that ends.
type lane struct {
	engine *engine // immutable

	mu       sync.Mutex
	conn     io.ReadWriteCloser // guarded by mu; nil while there is none
	codec    codec              // guarded by mu
	out      []byte             // guarded by mu; what is not written yet
	waiting  []time.Duration    // guarded by mu; due times of requests that are not sent yet
	inFlight int                // guarded by mu
	now      time.Duration      // guarded by mu; when the bytes that are being consumed came

	tally tally // guarded by mu
}

// tally is what a lane has counted.
type tally struct {
	requests, reconnects int
	latency              Histogram
}

// send lets a request go, at once if the connection can take it.
func (l *lane) send(due time.Duration) {
	l.mu.Lock()
	l.waiting = append(l.waiting, due)
	l.pump()
	l.mu.Unlock()
}

// pump writes as many waiting requests as the codec takes, and what else must be sent,
// in one piece.
func (l *lane) pump() {
	if l.conn == nil {
		return
	}
	sent := 0
	for _, due := range l.waiting {
		out, ok := l.codec.request(l.out, due)
		if l.out = out; !ok {
			break
		}
		sent++
	}
	l.inFlight += sent
	l.waiting = append(l.waiting[:0], l.waiting[sent:]...)
	if len(l.out) == 0 {
		return
	}
	_, err := l.conn.Write(l.out)
	l.out = l.out[:0]
	if err == nil {
		return
	}
	if c, ok := l.conn.(polledConn); ok { // the reader sees it, and says so
		c.Shut()
	} else {
		_ = l.conn.Close()
	}
}

// answered is the codec's verdict on a request.
func (l *lane) answered(due time.Duration, err error) {
	l.inFlight--
	e := l.engine
	if err != nil {
		e.fail(err, 1)
	} else if due >= time.Duration(e.begin.Load()) {
		l.tally.requests++
		l.tally.latency.Record(l.now - due)
	}
	l.again(1)
}

// again follows the end of n requests: in a closed loop others take their place.
func (l *lane) again(n int) {
	for range n {
		if l.engine.free != nil {
			l.engine.free <- l
		} else if l.engine.more() {
			l.waiting = append(l.waiting, l.now)
			continue
		}
		l.engine.ended(1)
	}
}

// run keeps a connection until ctx ends. The first one is there already.
func (l *lane) run(ctx context.Context) {
	buffer := make([]byte, readBuffer)
	for {
		err := l.serve(buffer)
		if ctx.Err() != nil {
			return
		}
		l.lose(err)
		if !l.redial(ctx) {
			return
		}
	}
}

// serve reads answers until the connection ends.
func (l *lane) serve(buffer []byte) error {
	have := 0
	for {
		n, err := l.conn.Read(buffer[have:])
		have += n
		if n > 0 {
			used, err := l.consume(buffer[:have])
			if err != nil {
				return err
			}
			if used == 0 && have == len(buffer) {
				return fmt.Errorf("%w: more than %d bytes of it make no sense", errBroken, have)
			}
			have = copy(buffer, buffer[used:have])
		}
		if err != nil {
			return err
		}
	}
}

func (l *lane) consume(in []byte) (int, error) {
	now := l.engine.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = now
	used, out, err := l.codec.consume(in, l.out)
	l.out = out
	if err == nil {
		l.pump()
	}
	return used, err
}

// lose gives up a connection, and the requests that were in flight on it.
func (l *lane) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.Close()
	l.conn, l.out, l.now = nil, l.out[:0], l.engine.now()
	lost := l.inFlight
	l.inFlight = 0
	switch {
	case lost > 0:
		l.engine.fail(fmt.Errorf("connection lost: %w", err), lost)
		l.again(lost)
	case errors.Is(err, errReconnect), errors.Is(err, io.EOF):
		l.tally.reconnects++
	default:
		l.engine.fail(fmt.Errorf("idle connection lost: %w", err), 1)
	}
}

// redial opens another connection, and tries until ctx ends.
func (l *lane) redial(ctx context.Context) bool {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		err := l.dial(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			l.engine.fail(err, 1)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return false
		}
	}
}

// dial opens the lane's connection and sends what waits for it.
func (l *lane) dial(ctx context.Context) error {
	tcp, err := dial(ctx, l.engine.target.Addr, l.engine.target.TLS)
	if err != nil {
		return err
	}
	conn := io.ReadWriteCloser(bounded{tcp})
	if l.engine.polled() {
		if conn, err = takeOver(tcp); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), conn.Close())
	}
	l.conn = conn
	l.codec, l.out = l.engine.codec(l.answered, l.out)
	l.pump()
	return nil
}

// hangUp ends the connection, so that run returns once ctx has ended.
func (l *lane) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

// bounded is a connection whose writes take no longer than stall.
type bounded struct{ net.Conn }

// Write implements io.Writer.
func (b bounded) Write(p []byte) (int, error) {
	if err := b.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	return b.Conn.Write(p)
}
