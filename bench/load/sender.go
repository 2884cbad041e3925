package load

import (
	"context"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/poll"
)

// offer puts each lane into the line of the free ones as often as it takes requests.
func (e *engine) offer() {
	for range e.shape.Streams {
		for _, l := range e.lanes {
			e.free <- l
		}
	}
}

// schedule is the open loop of lanes that have goroutines: it sends each request when it
// is due, or as soon as there is a lane for it.
func (e *engine) schedule(ctx context.Context) {
	defer e.ended(1)
	poll.Precise()
	e.offer()
	plan := newTimetable(&e.shape)
	for {
		due, ok := plan.next()
		if !ok || !e.sleepUntil(ctx, due) {
			return
		}
		select {
		case l := <-e.free:
			e.open.Add(1)
			l.send(due)
		case <-ctx.Done():
			return
		}
	}
}

// sleepUntil waits for a time of the run and notes by how much it was missed. Times
// that have passed are not the generator's fault and not noted.
func (e *engine) sleepUntil(ctx context.Context, due time.Duration) bool {
	const longest = 50 * time.Millisecond // between looks at ctx
	wait := due - e.now()
	if wait <= 0 {
		return ctx.Err() == nil
	}
	for ; wait > 0; wait = due - e.now() {
		if ctx.Err() != nil {
			return false
		}
		sleep(min(wait, longest))
	}
	e.late(due, -wait)
	return true
}

// late notes by how much the generator missed the time of a request.
func (e *engine) late(due, by time.Duration) {
	if due >= e.shape.Warmup {
		e.lateness.Record(by)
	}
}
