package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

var killStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "A sidecar killed under load",
	about: []string{
		"reviews-v1 asks ratings, which has two pods, 400 times a second. A VirtualService lets",
		"a request be tried five times more. The sidecar of one pod is killed (SIGKILL), and",
		"started again a second later.",
	},
	run: kill,
}

const (
	killRate  = 400
	killConns = 8
)

// outage is what happened around a kill.
type outage struct {
	killed                 time.Time
	ready                  time.Duration // the time a new sidecar took
	before, without, after tally
}

func kill(ctx context.Context, d *demo) (string, error) {
	victim := d.ratings[0]
	var back atomic.Int64 // answers of the victim since it was started again
	var counting atomic.Bool
	r := load{from: d.reviews1, to: ratingsAddr, conns: killConns, rate: killRate}.start(ctx, func(a answer) {
		if counting.Load() && a.err == nil && a.from.Pod == victim.Name() {
			back.Add(1)
		}
	})
	defer r.stop()
	var o outage
	err := d.screen.during(r.watch(d.screen), func() error {
		if err := o.strike(ctx, victim, r); err != nil {
			return err
		}
		counting.Store(true)
		err := until(ctx, effectWait, victim.Name()+" answering again", func() bool { return back.Load() >= 20 })
		sleep(ctx, time.Second/2)
		return err
	})
	o.after = r.stop()
	if err != nil {
		return "", err
	}
	d.showOutage(&o)
	shown := fmt.Sprintf("%d of %s requests failed; ready again in %s", o.after.failed, count(o.after.asked), span(o.ready))
	return shown, movedOn(d, &o)
}

// strike kills the victim's sidecar and starts it again, a second between.
func (o *outage) strike(ctx context.Context, victim *testmesh.Pod, r *running) error {
	if !sleep(ctx, time.Second) {
		return ctx.Err()
	}
	o.before, o.killed = r.soFar(), time.Now()
	if err := victim.KillSidecar(); err != nil {
		return err
	}
	if !sleep(ctx, time.Second) {
		return ctx.Err()
	}
	o.without = r.soFar()
	started := time.Now()
	if err := victim.StartSidecar(); err != nil {
		return err
	}
	err := victim.Ready(ctx)
	o.ready = time.Since(started)
	return err
}

func (d *demo) showOutage(o *outage) {
	t := table{heads: []string{"", ">" + d.ratings[0].Name(), ">" + d.ratings[1].Name(), ">failed"}}
	for _, phase := range []struct {
		name     string
		from, to tally
	}{{"1 s before", tally{}, o.before}, {"1 s without its sidecar", o.before, o.without}, {"with it again", o.without, o.after}} {
		row := []string{phase.name}
		for _, p := range d.ratings {
			row = append(row, count(phase.to.by[p.Name()]-phase.from.by[p.Name()]))
		}
		t.add(append(row, count(phase.to.failed-phase.from.failed))...)
	}
	d.screen.show(&t)
	d.screen.printf("%sthe new sidecar was ready after %s", indent, span(o.ready))
	for _, f := range o.after.failures {
		d.screen.printf("%sasked %v after the kill, failed %s later: %v", indent, f.asked.Sub(o.killed).Round(time.Millisecond), span(f.took), cause(f.err))
	}
}

// movedOn returns an error if a request was lost, or the other pod did not take
// over.
func movedOn(d *demo, o *outage) error {
	other := d.ratings[1].Name()
	if n := o.without.by[other] - o.before.by[other]; n < (o.without.asked-o.before.asked)/4 {
		return fmt.Errorf("%s answered only %d requests in the second without the other", other, n)
	}
	return o.after.none()
}
