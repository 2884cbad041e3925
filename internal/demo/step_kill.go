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
		"reviews-v1 asks ratings, which has two pods, 400 times a second. The sidecar of one",
		"is killed (SIGKILL), and started again a second later.",
	},
	run: kill,
}

const (
	killRate  = 400
	killConns = 8
	// killGrace is how long after the kill its victim may still be on its way
	// out, and requests with it.
	killGrace = 100 * time.Millisecond
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
	if after.failed > 0 {
		d.screen.printf("%s%s", indent, after.why())
	}
	shown := fmt.Sprintf("%d of %s requests failed; ready again in %s", after.failed, count(after.asked), span(ready))
	return shown, movedOn(&before, &after, killed)
}

// movedOn returns an error if more was lost than what can have been on its way
// when the sidecar died: one request on each connection.
func movedOn(before, after *tally, killed time.Time) error {
	if err := before.none(); err != nil {
		return fmt.Errorf("before the kill: %w", err)
	}
	if late := after.lastFailed.Sub(killed); late > killGrace {
		return fmt.Errorf("a request asked %s after the kill failed; in all %w", span(late), after.none())
	}
	if after.failed > killConns {
		return fmt.Errorf("more were lost than were on their way: %w", after.none())
	}
	return nil
}
