package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
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
	if !sleep(ctx, time.Second) {
		return "", ctx.Err()
	}
	before := r.soFar()
	killed := time.Now()
	if err := victim.KillSidecar(); err != nil {
		return "", err
	}
	if !sleep(ctx, time.Second) {
		return "", errors.Join(ctx.Err(), victim.StartSidecar())
	}
	without := r.soFar()
	started := time.Now()
	if err := victim.StartSidecar(); err != nil {
		return "", err
	}
	if err := victim.Ready(ctx); err != nil {
		return "", err
	}
	ready := time.Since(started)
	counting.Store(true)
	if err := until(ctx, effectWait, victim.Name()+" answering again", func() bool { return back.Load() >= 20 }); err != nil {
		return "", err
	}
	sleep(ctx, time.Second/2)
	after := r.stop()

	t := table{heads: []string{"", ">" + d.ratings[0].Name(), ">" + d.ratings[1].Name(), ">failed"}}
	for _, phase := range []struct {
		name     string
		from, to tally
	}{{"1 s before", tally{}, before}, {"1 s without its sidecar", before, without}, {"with it again", without, after}} {
		row := []string{phase.name}
		for _, p := range d.ratings {
			row = append(row, count(phase.to.by[p.Name()]-phase.from.by[p.Name()]))
		}
		t.add(append(row, count(phase.to.failed-phase.from.failed))...)
	}
	d.screen.show(&t)
	d.screen.printf("%sthe new sidecar was ready after %s", indent, span(ready))
	for _, f := range after.failures {
		d.screen.printf("%sasked %s after the kill, failed %s later: %v", indent, f.asked.Sub(killed), span(f.took), cause(f.err))
	}
	shown := fmt.Sprintf("%d of %s requests failed; ready again in %s", after.failed, count(after.asked), span(ready))
	return shown, movedOn(d, &before, &without, &after)
}

// movedOn returns an error if a request was lost, or the other pod did not take
// over.
func movedOn(d *demo, before, without, after *tally) error {
	other := d.ratings[1].Name()
	if without.by[other]-before.by[other] < killRate/4 {
		return fmt.Errorf("%s answered only %d requests in the second without the other", other, without.by[other]-before.by[other])
	}
	return after.none()
}
