package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Handshakes is a number of connections that carry one request each.
type Handshakes struct {
	Count      int
	Concurrent int  // 1 if 0
	Resume     bool // with a session ticket of an earlier connection; else a full handshake

	Begin, End func() // called around the measured part
}

// errResumption is a handshake of the other kind.
var errResumption = errors.New("handshake is not of the kind that was asked for")

// NewConnections opens connections one after the other, sends one HTTP/1.1 request on
// each and closes it. The latency is that of all of it. It counts a handshake that is
// not of the kind asked for as an error.
func NewConnections(ctx context.Context, t Target, h Handshakes) (Result, error) {
	e, err := newEngine(t, Shape{Protocol: HTTP1, Requests: h.Count})
	if err != nil {
		return Result{}, err
	}
	h.Concurrent = min(max(h.Concurrent, 1), h.Count)
	callers := make([]*caller, h.Concurrent)
	for i := range callers {
		c := &caller{engine: e, buffer: make([]byte, readBuffer), resume: h.Resume && t.TLS != nil}
		if t.TLS != nil {
			c.config = t.TLS.Clone()
			c.config.ClientSessionCache = nil
		}
		if c.resume { // its first ticket, before anything is measured
			c.config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
			if _, err := c.call(ctx); err != nil && !errors.Is(err, errResumption) {
				return Result{}, err
			}
		}
		callers[i] = c
	}
	if h.Begin != nil {
		h.Begin()
	}
	e.start = time.Now()
	err = e.callAll(ctx, callers, h.Count)
	elapsed := e.now()
	if h.End != nil {
		h.End()
	}
	r := e.result(elapsed)
	for _, c := range callers {
		r.Requests += c.tally.requests
		r.Latency.Merge(&c.tally.latency)
	}
	return r, err
}

// callAll shares the connections out among callers.
func (e *engine) callAll(ctx context.Context, callers []*caller, count int) error {
	var (
		all  sync.WaitGroup
		next atomic.Int64
	)
	for _, c := range callers {
		all.Go(func() {
			for next.Add(1) <= int64(count) && ctx.Err() == nil && len(e.tooMany) == 0 {
				took, err := c.call(ctx)
				if err != nil {
					e.fail(err, 1)
					continue
				}
				c.tally.requests++
				c.tally.latency.Record(took)
			}
		})
	}
	all.Wait()
	return ctx.Err()
}

// caller opens one connection at a time.
type caller struct {
	engine *engine     // immutable
	config *tls.Config // immutable
	resume bool        // immutable

	buffer []byte // owned by the caller's goroutine
	tally  tally  // owned by the caller's goroutine
}

// call opens a connection, sends a request and closes it.
func (c *caller) call(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	s, err := openSingle(ctx, c.config, c.engine)
	if err != nil {
		return 0, err
	}
	err = s.roundTrip(c.buffer)
	took := time.Since(begin)
	if secure, ok := s.conn.(*tls.Conn); ok && err == nil && secure.ConnectionState().DidResume != c.resume {
		err = fmt.Errorf("%w: resumed is %v", errResumption, !c.resume)
	}
	return took, errors.Join(err, s.conn.Close())
}
