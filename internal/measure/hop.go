package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// ratioTarget is how much more CPU than HAProxy a plain hop may take.
const ratioTarget = 1.8

// way is one way from the application to the server.
type way struct {
	name string
	from *testmesh.Pod
	url  string
	args []string // of wrk
	pids func() []int

	cost []float64 // µs of CPU per request, one for each round
	rate []float64 // requests per second
}

// once sends load along the way for d and notes what it cost.
func (w *way) once(ctx context.Context, d time.Duration) error {
	before, err := cpuOfAll(w.pids())
	if err != nil {
		return err
	}
	l, err := wrk(ctx, w.from, d, w.url, w.args...)
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	after, err := cpuOfAll(w.pids())
	if err != nil {
		return err
	}
	w.cost = append(w.cost, float64((after-before).Microseconds())/l.requests)
	w.rate = append(w.rate, l.requests/l.seconds)
	return nil
}

func cpuOfAll(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		d, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// hop measures what a request through the sidecar costs, beside HAProxy.
func (b *bench) hop(ctx context.Context) (err error) {
	t, err := b.newTrack(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	ways := t.ways()
	rounds, span := pick(b, 9, 2), pick(b, 5*time.Second, time.Second)
	for _, w := range ways { // connections, caches, lazily built clusters
		if err := answers(ctx, w.from, w.url); err != nil {
			return err
		}
		if err := w.once(ctx, time.Second); err != nil {
			return err
		}
		w.cost, w.rate = nil, nil
	}
	for round := range rounds {
		for _, w := range ways {
			if err := w.once(ctx, span); err != nil {
				return err
			}
		}
		b.say("hop: round %d of %d", round+1, rounds)
		slices.Reverse(ways)
	}
	if rounds%2 == 1 {
		slices.Reverse(ways)
	}
	return b.hopTable(ways)
}

func (b *bench) hopTable(ways []*way) error {
	var rows []series
	for _, w := range ways {
		rows = append(rows, series{name: w.name, format: "%.1f", values: w.cost, note: fmt.Sprintf("%.0f requests/s", median(w.rate))})
	}
	for i := 0; i+1 < len(ways) && i < 4; i += 2 {
		r := ratios(ways[i].cost, ways[i+1].cost)
		rows = append(rows, series{
			name: ways[i].name + " / " + ways[i+1].name, format: "%.2f", values: r, note: verdict(median(r), ratioTarget, "%.1f"),
		})
	}
	return table(b.out, fmt.Sprintf("hop: µs of CPU (user + system) per request, HTTP/1.1, 1 KB, %d connections", connections), rows)
}
