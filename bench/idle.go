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
		who := r.subjectsOf(c)
		for n := range r.Rounds {
			round := make(map[string]figures)
			for _, s := range slices.Clone(who) {
				got, err := r.idleOnce(ctx, c, s, tls)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err != nil {
					r.note(true, "%s: %s: %v", c.name, s, err)
					who = slices.DeleteFunc(who, func(have string) bool { return have == s })
					continue
				}
				round[s] = got
			}
			r.collect(c, n, round)
			slices.Reverse(who)
		}
		return nil
	}
}

func (r *runner) idleOnce(ctx context.Context, c *benchCase, subject string, tls bool) (out figures, err error) {
	c = &benchCase{name: c.name, legs: c.legs, backend: c.backend, turn: func(ctx context.Context, r *runner, t *track, _ bool) (figures, error) {
		target := r.idleTarget(t, tls)
		set, err := load.Idle(ctx, target, firstConnections)
		if err == nil {
			set.Close()
		}
		return nil, err
	}}
	t, err := r.layWarm(ctx, c, subject)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	if err := settle(ctx, idleSettle); err != nil {
		return nil, err
	}
	before, err := t.resident()
	if err != nil {
		return nil, err
	}
	count := r.work(idleConnections, false)
	set, err := load.Idle(ctx, r.idleTarget(t, tls), count)
	if err != nil {
		return nil, t.explain(err)
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
		if err := r.rest(ctx, warm); err != nil {
			return nil, err
		}
		return atRate(ctx, r, t, warm)
	}()
	return out, errors.Join(err, r.rest(ctx, warm))
}

// rest lets memory settle after connections were opened or closed.
func (r *runner) rest(ctx context.Context, warm bool) error {
	if warm {
		return nil
	}
	return settle(ctx, min(idleSettle, time.Duration(float64(idleSettle)*r.Scale)))
}
