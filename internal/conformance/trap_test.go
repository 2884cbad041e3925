package conformance_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// spring lays the trap for one connection, and closes it.
func (tr *trap) spring(ctx context.Context, c net.Conn) (*peer, error) {
	p := newPeer(c)
	stop := context.AfterFunc(ctx, func() { _ = p.SetDeadline(time.Now()) })
	defer stop()
	err := p.soonOver(strikeLimit)
	stream, begun := p.acceptPreface(tr.settings...)
	if err = errors.Join(err, begun); err != nil {
		_ = p.Close()
		return p, err
	}
	if !tr.deaf {
		p.listen(false)
	}
	err = tr.run(p, stream)
	if tr.deaf {
		p.listen(false)
	}
	select {
	case <-p.over:
		p.ended = true
	case <-time.NewTimer(mercy(tr.ends)).C:
	}
	_ = p.Close() // ends listen
	p.listening.Wait()
	return p, err
}

// lay springs the trap for every connection until the listener is closed, which
// is waited for by the returned func.
func (tr *trap) lay(ctx context.Context, l net.Listener, sprung func(*peer, error)) (wait func()) {
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { sprung(tr.spring(ctx, c)) })
		}
	})
	return conns.Wait
}
