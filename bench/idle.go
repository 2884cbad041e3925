package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/load"
	"github.com/outrigger-mesh/outrigger/bench/proc"
)

const (
	idleConnections = 4000
	manyConnections = 10_000
	// idleSettle is how long memory gets to come to rest.
	idleSettle = 3 * time.Second
	// firstConnections take what a proxy needs once.
	firstConnections = 64
)

// idleMemory measures memory per connection, on a new process for each round, since
// memory that was used once is not always given back.
func idleMemory(tls bool) func(context.Context, *runner, *benchCase) error {
	return func(ctx context.Context, r *runner, c *benchCase) error {
		alone := *c
		alone.subjects = slices.Clone(c.subjects)
		alone.turn = func(ctx context.Context, r *runner, t *track, _ bool) (figures, error) {
			set, err := load.Idle(ctx, r.idleTarget(t, tls), firstConnections)
			if err == nil {
				set.Close()
			}
			return nil, err
		}
		for n := range r.Rounds {
			round, err := r.idleRound(ctx, &alone, tls)
			if err != nil {
				return err
			}
			r.collect(c, n, round)
			slices.Reverse(alone.subjects)
		}
		return nil
	}
}

// idleRound starts all subjects, lets their memory settle once, and has one after the
// other hold connections.
func (r *runner) idleRound(ctx context.Context, c *benchCase, tls bool) (map[string]figures, error) {
	round := make(map[string]figures)
	var tracks []*track
	defer func() {
		for _, t := range tracks {
			if err := t.stop(); err != nil {
				r.note(true, "%s: %s: %v", c.name, t.subject, err)
			}
		}
	}()
	for _, s := range c.subjects {
		if t := r.layOne(ctx, c, s); t != nil {
			tracks = append(tracks, t)
		}
	}
	if err := settle(ctx, idleSettle); err != nil {
		return nil, err
	}
	for _, t := range tracks {
		got, err := r.idleOnce(ctx, t, tls)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			r.note(true, "%s: %s: %v", c.name, t.subject, t.explain(err))
			continue
		}
		round[t.subject] = got
	}
	return round, nil
}

func (r *runner) idleOnce(ctx context.Context, t *track, tls bool) (figures, error) {
	before, err := t.resident()
	if err != nil {
		return nil, err
	}
	count := r.work(idleConnections, false)
	set, err := load.Idle(ctx, r.idleTarget(t, tls), count)
	if err != nil {
		return nil, err
	}
	defer debug.FreeOSMemory()
	defer set.Close()
	if err := settle(ctx, idleSettle); err != nil {
		return nil, err
	}
	after, err := t.resident()
	if err != nil {
		return nil, err
	}
	if set.Len() != count {
		return nil, fmt.Errorf("%d of %d connections are open", set.Len(), count)
	}
	return figures{bytesConn: float64(after-before) / float64(count)}, nil
}

func (r *runner) idleTarget(t *track, tls bool) load.Target {
	if tls {
		return withTLS(t.target(), r.caller)
	}
	return t.target()
}

// resident is the memory of a track's proxies.
func (t *track) resident() (int64, error) {
	pids, err := t.pids()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range pids {
		u, err := proc.Of(pid)
		if err != nil {
			return 0, err
		}
		sum += u.RSS
	}
	return sum, nil
}

// besideIdle takes idle-10k together with rate-1000, which it is held against: what
// the machine does to one minute of the run it does to both.
func besideIdle(ctx context.Context, r *runner, _ *benchCase) error {
	if r.ratesTaken {
		return nil
	}
	r.ratesTaken = true
	var cases []*benchCase
	for _, c := range latencyCases() {
		if c.name == rateCase && wanted(r.Cases, idleCase) || wanted(r.Cases, c.name) {
			cases = append(cases, c)
		}
	}
	return r.takeTurns(ctx, cases...)
}

// amongIdle is a turn of an open loop beside idle connections. They are opened for the
// turn: those of two subjects do not fit into every limit of open files.
func amongIdle(ctx context.Context, r *runner, t *track, warm bool) (figures, error) {
	count := max(int(manyConnections*r.Scale), leastWork)
	if warm {
		count /= warmShare
	}
	set, err := load.Idle(ctx, t.target(), count)
	if err != nil {
		return nil, err
	}
	out, err := func() (figures, error) {
		defer set.Close()
		debug.FreeOSMemory() // what it took to open them is not collected meanwhile
		if err := r.rest(ctx, t, warm); err != nil {
			return nil, err
		}
		return atRate(ctx, r, t, warm)
	}()
	return out, errors.Join(err, r.rest(ctx, t, warm))
}

// rest lets the memory of proxies settle after connections were opened or closed.
func (r *runner) rest(ctx context.Context, t *track, warm bool) error {
	if warm || len(t.procs) == 0 {
		return nil
	}
	return settle(ctx, min(idleSettle, time.Duration(float64(idleSettle)*r.Scale)))
}
