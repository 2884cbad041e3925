package load

import (
	"context"
	"fmt"
	"sync"
)

// IdleSet is open connections that nothing is sent on. It is owned by one goroutine.
type IdleSet struct {
	conns   []*single
	buffers sync.Pool // for reading: an idle connection needs none
}

func (s *IdleSet) roundTrip(i int) error {
	buffer := s.buffers.Get().([]byte)
	defer s.buffers.Put(buffer) //nolint:staticcheck // a slice header for each of some thousand requests
	return s.conns[i].roundTrip(buffer)
}

// Idle opens n keep-alive connections and sends one HTTP/1.1 request on each; they stay
// open until the set is closed.
func Idle(ctx context.Context, t Target, n int) (*IdleSet, error) {
	e, err := newEngine(t, Shape{Protocol: HTTP1, Requests: n})
	if err != nil {
		return nil, err
	}
	set := &IdleSet{conns: make([]*single, n)}
	set.buffers.New = func() any { return make([]byte, readBuffer) }
	err = inParallel(n, func(i int) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c, err := openSingle(ctx, t.TLS, e)
		if err != nil {
			return err
		}
		set.conns[i] = c
		if err := set.roundTrip(i); err != nil {
			return err
		}
		if c.codec.closes {
			return fmt.Errorf("%w: connection %d is not kept alive", ErrFailed, i)
		}
		return nil
	})
	if err != nil {
		set.Close()
		return nil, fmt.Errorf("open %d idle connections: %w", n, err)
	}
	return set, nil
}

// Len is the number of connections.
func (s *IdleSet) Len() int { return len(s.conns) }

// Touch sends one more request on each connection: an error says which was lost.
func (s *IdleSet) Touch(ctx context.Context) error {
	return inParallel(len(s.conns), func(i int) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.roundTrip(i); err != nil {
			return fmt.Errorf("idle connection %d of %d: %w", i, len(s.conns), err)
		}
		return nil
	})
}

// Close ends all connections.
func (s *IdleSet) Close() {
	for _, c := range s.conns {
		if c != nil {
			_ = c.conn.Close()
		}
	}
	s.conns = nil
}
