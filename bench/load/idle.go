package load

import (
	"context"
	"errors"
)

// IdleSet is open connections that nothing is sent on.
type IdleSet struct{}

// Idle opens n keep-alive connections and sends one HTTP/1.1 request on each; they stay
// open until the set is closed.
func Idle(ctx context.Context, t Target, n int) (*IdleSet, error) {
	return nil, errors.ErrUnsupported
}

// Len is the number of connections.
func (s *IdleSet) Len() int { return 0 }

// Touch sends one more request on each connection: an error says how many were lost.
func (s *IdleSet) Touch(ctx context.Context) error { return errors.ErrUnsupported }

// Close ends all connections.
func (s *IdleSet) Close() {}
