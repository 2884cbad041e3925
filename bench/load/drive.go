package load

import (
	"context"
	"fmt"
	"time"
)

// drive leads a run through warm-up, measured part and drain, and returns how long the
// measured part was.
func (e *engine) drive(ctx context.Context) (time.Duration, error) {
	if e.shape.Rate == 0 {
		e.fill()
	}
	if over, err := e.wait(ctx, e.shape.Warmup); over || err != nil {
		return 0, err
	}
	if e.shape.Begin != nil {
		e.shape.Begin()
	}
	begin := e.now()
	if e.shape.Rate == 0 {
		e.begin.Store(int64(begin))
		if e.shape.Requests > 0 {
			e.refill()
		}
	}
	err := e.measured(ctx)
	if e.shape.End != nil {
		e.shape.End()
	}
	return e.now() - begin, err
}

// measured waits for the end of the measured part and for its last answers.
func (e *engine) measured(ctx context.Context) error {
	if e.shape.Rate == 0 && e.shape.Duration > 0 {
		if over, err := e.wait(ctx, e.shape.Duration); over || err != nil {
			return err
		}
		e.budget.Store(0)
	}
	limit := drainTime
	switch {
	case e.shape.Rate > 0 && e.shape.Duration > 0:
		limit += e.shape.Duration
	case e.shape.Rate > 0:
		limit += time.Duration(float64(e.shape.Requests) / e.shape.Rate * float64(time.Second))
	case e.shape.Requests > 0:
		return e.progress(ctx)
	}
	over, err := e.wait(ctx, limit)
	if !over && err == nil {
		e.unanswered(drainTime)
	}
	return err
}

// unanswered counts what is still open as failed.
func (e *engine) unanswered(after time.Duration) {
	if n := int(e.open.Load()); n > 0 {
		e.fail(fmt.Errorf("no answer after %v", after), n)
	}
}

// fill begins a closed loop.
func (e *engine) fill() {
	if e.shape.Warmup == 0 && e.shape.Requests > 0 {
		return // all of it is measured: refill begins
	}
	e.open.Add(int64(e.shape.Conns * e.shape.Streams))
	for _, l := range e.lanes {
		for range e.shape.Streams {
			l.send(e.now())
		}
	}
}

// refill begins the counted requests of a closed loop, after the warm-up has ended.
func (e *engine) refill() {
	e.budget.Store(int64(e.shape.Requests))
	if e.shape.Warmup > 0 {
		return // the warm-up's requests are in flight and are followed by others
	}
	slots := int64(min(e.shape.Conns*e.shape.Streams, e.shape.Requests))
	e.budget.Add(-slots)
	e.open.Add(slots)
	for i := range slots {
		e.lanes[i%int64(len(e.lanes))].send(e.now())
	}
}

// progress waits for the end of a fixed number of requests, as long as some are answered.
func (e *engine) progress(ctx context.Context) error {
	before := e.budget.Load()
	for {
		over, err := e.wait(ctx, stall)
		if over || err != nil {
			return err
		}
		now := e.budget.Load()
		if now == before {
			e.unanswered(stall)
			return nil
		}
		before = now
	}
}

// wait lets time pass; over says that all requests have ended, or too many have failed.
func (e *engine) wait(ctx context.Context, d time.Duration) (over bool, err error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false, nil
	case <-e.finished:
		return true, nil
	case <-e.tooMany:
		return true, nil
	case <-ctx.Done():
		return true, ctx.Err()
	}
}
