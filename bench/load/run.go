package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/poll"
)

// Bounds of a run.
const (
	stall      = 10 * time.Second // without an answer, everything has failed
	drainTime  = 5 * time.Second  // for the last answers
	maxErrors  = 100              // enough to know
	maxSamples = 5
	maxBody    = 32 << 10 // with HTTP/2: what fits every window at once
)

// engine is one run.
type engine struct {
	target   Target // immutable
	shape    Shape
	expect   *expectation
	message  []byte // of HTTP/1.1
	start    time.Time
	lanes    []*lane
	free     chan *lane // in an open loop: once for each request that a lane can take
	lateness Histogram  // owned by the scheduler

	begin    atomic.Int64  // ns; requests due before are warm-up
	budget   atomic.Int64  // requests that may still begin
	open     atomic.Int64  // requests and schedulers that have not ended
	finished chan struct{} // gets a value when open falls to 0
	tooMany  chan struct{} // gets a value when there are maxErrors

	mu      sync.Mutex
	errors  int      // guarded by mu
	samples []string // guarded by mu
}

// Run sends requests of a shape to a target. An error is a run that could not be
// carried out; requests that failed are counted in the result, see Result.Err.
func Run(ctx context.Context, t Target, s Shape) (Result, error) {
	e, err := newEngine(t, s)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := e.connect(ctx); err != nil {
		return Result{}, err
	}
	e.start = time.Now()
	var running sync.WaitGroup
	if s.Rate > 0 { // the scheduler counts as something that has not ended
		e.open.Add(1)
		e.begin.Store(int64(s.Warmup))
	}
	if err := e.launch(ctx, &running); err != nil {
		e.hangUp()
		return Result{}, err
	}
	elapsed, err := e.drive(ctx)
	cancel()
	if !e.polled() { // else they are in use until the poller has ended
		e.hangUp()
	}
	running.Wait()
	e.hangUp()
	return e.result(elapsed), err
}

// launch starts who reads the connections, and who sends on time.
func (e *engine) launch(ctx context.Context, running *sync.WaitGroup) error {
	if e.polled() {
		p, err := newPolled(e, running)
		if err == nil {
			running.Go(func() { p.run(ctx) })
		}
		return err
	}
	for _, l := range e.lanes {
		running.Go(func() { l.run(ctx) })
	}
	if e.shape.Rate > 0 {
		running.Go(func() { e.schedule(ctx) })
	}
	return nil
}

// polled says whether one thread serves all connections. With TLS each has a goroutine,
// as its library wants it.
func (e *engine) polled() bool { return poll.Supported && e.target.TLS == nil }

func (e *engine) hangUp() {
	for _, l := range e.lanes {
		l.hangUp()
	}
}

func newEngine(t Target, s Shape) (*engine, error) {
	s.Conns, s.Streams = max(s.Conns, 1), max(s.Streams, 1)
	if err := s.check(&t); err != nil {
		return nil, err
	}
	if s.Protocol == GRPC {
		t.Body = grpcMessage(t.Body)
	}
	if t.Method == "" {
		t.Method = "GET"
		if len(t.Body) > 0 {
			t.Method = "POST"
		}
	}
	if t.Path == "" {
		t.Path = "/"
	}
	e := &engine{
		target: t, shape: s, expect: newExpectation(&t), message: http1Message(&t),
		finished: make(chan struct{}, 1), tooMany: make(chan struct{}, 1),
	}
	e.begin.Store(math.MaxInt64)
	e.budget.Store(math.MaxInt64)
	if s.Rate > 0 {
		e.free = make(chan *lane, s.Conns*s.Streams)
	}
	return e, nil
}

func (s *Shape) check(t *Target) error {
	multi := s.Protocol == HTTP2 || s.Protocol == GRPC
	switch {
	case s.Protocol != HTTP1 && s.Protocol != TCP && !multi:
		return fmt.Errorf("%w: protocol %q", ErrShape, s.Protocol)
	case s.Streams > 1 && !multi:
		return fmt.Errorf("%w: %d streams with %s", ErrShape, s.Streams, s.Protocol)
	case (s.Duration > 0) == (s.Requests > 0):
		return fmt.Errorf("%w: either a duration or a number of requests", ErrShape)
	case s.Rate < 0, s.Duration < 0, s.Requests < 0, s.Warmup < 0:
		return fmt.Errorf("%w: a negative number", ErrShape)
	case multi && len(t.Body) > maxBody:
		return fmt.Errorf("%w: a body of %d bytes, at most %d go with %s", ErrShape, len(t.Body), maxBody, s.Protocol)
	case s.Protocol == TCP && len(t.Body) == 0:
		return fmt.Errorf("%w: no message", ErrShape)
	case t.Method == "HEAD", t.Method == "CONNECT":
		return fmt.Errorf("%w: method %s", ErrShape, t.Method)
	}
	return nil
}

// codec begins a connection; what it has to say first goes behind out.
func (e *engine) codec(done verdict, out []byte) (codec, []byte) {
	switch e.shape.Protocol {
	case HTTP1:
		return newHTTP1(e.message, e.expect, done), out
	case TCP:
		return &echoed{message: e.target.Body, done: done}, out
	default:
		c, hello := newHTTP2(&e.target, e.shape.Protocol == GRPC, e.expect, done)
		return c, append(out, hello...)
	}
}

// connect opens all connections, some at a time.
func (e *engine) connect(ctx context.Context) error {
	e.lanes = make([]*lane, e.shape.Conns)
	for i := range e.lanes {
		e.lanes[i] = &lane{engine: e}
	}
	err := inParallel(len(e.lanes), func(i int) error { return e.lanes[i].dial(ctx) })
	if err != nil {
		e.hangUp()
	}
	return err
}

// inParallel calls f for 0 to n-1, up to 32 at a time, until one fails.
func inParallel(n int, f func(int) error) error {
	var (
		next    atomic.Int64
		failed  atomic.Bool
		workers = min(n, 32)
		errs    = make([]error, workers)
		all     sync.WaitGroup
	)
	for w := range workers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && !failed.Load(); i = next.Add(1) - 1 {
				if err := f(int(i)); err != nil {
					errs[w] = err
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (e *engine) now() time.Duration { return time.Since(e.start) }

// more says whether a closed loop goes on with another request.
func (e *engine) more() bool { return e.budget.Add(-1) >= 0 }

// ended notes the end of requests that nothing follows.
func (e *engine) ended(n int64) {
	if e.open.Add(-n) == 0 {
		notify(e.finished)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fail counts n requests that failed for one reason.
func (e *engine) fail(err error, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errors += n
	if len(e.samples) < maxSamples {
		e.samples = append(e.samples, err.Error())
	}
	if e.errors >= maxErrors {
		notify(e.tooMany)
	}
}

func (e *engine) result(elapsed time.Duration) Result {
	r := Result{Elapsed: elapsed, Latency: new(Histogram), Lateness: &e.lateness}
	for _, l := range e.lanes {
		l.mu.Lock()
		r.Requests += l.tally.requests
		r.Reconnects += l.tally.reconnects
		r.Latency.Merge(&l.tally.latency)
		l.mu.Unlock()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.Errors, r.ErrorSamples = e.errors, e.samples
	return r
}
