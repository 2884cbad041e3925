package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

var latencyStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "What two sidecars cost",
	about: []string{
		"By turns, 150 times a second each: a pod without sidecar asks another, and web asks",
		"ratings through both sidecars. 1 KiB is answered, on one connection each; access logs on.",
	},
	run: latency,
}

const (
	latencyTurns = 600
	latencyGap   = time.Second / 300
	latencyWarm  = 50
	// latencyMost bounds the added median; it is there to notice a defect, not to
	// measure, which bench/ does.
	latencyMost = 50 * time.Millisecond
)

func latency(ctx context.Context, d *demo) (string, error) {
	const path = "/?size=1024"
	ways := []*caller{
		{pod: d.caller, addr: net.JoinHostPort(d.server.Addr().String(), strconv.Itoa(plainPort)), path: path},
		{pod: d.web, addr: ratingsAddr, path: path},
	}
	var samples [][]time.Duration
	var turns atomic.Int64
	draw := func() []string {
		n := int(turns.Load())
		return []string{fmt.Sprintf("%s%s %d of %d", indent, d.screen.bar(float64(n)/latencyTurns, 30), n, latencyTurns)}
	}
	err := d.screen.during(draw, func() (err error) {
		if _, err = byTurns(ctx, ways, latencyWarm, new(atomic.Int64)); err == nil {
			samples, err = byTurns(ctx, ways, latencyTurns, &turns)
		}
		return err
	})
	for _, c := range ways {
		c.close()
	}
	if err != nil {
		return "", err
	}
	t := table{heads: []string{"", ">p50", ">p90", ">p99"}}
	var medians, tails []time.Duration
	for i, name := range []string{"without sidecars", "through two sidecars, mutual TLS"} {
		p50, p90, p99 := quantile(samples[i], 0.5), quantile(samples[i], 0.9), quantile(samples[i], 0.99)
		t.add(name, span(p50), span(p90), span(p99))
		medians, tails = append(medians, p50), append(tails, p99)
	}
	d.screen.show(&t)
	if d.cpuPerRequest > 0 {
		d.screen.printf("%sprocessor time of both sidecars, measured in step 1: %s a request", indent, span(d.cpuPerRequest))
	}
	added := medians[1] - medians[0]
	if added > latencyMost {
		return "", fmt.Errorf("two sidecars add %s to the median, more than %s", span(added), span(latencyMost))
	}
	return fmt.Sprintf("two sidecars add %s (p50), %s (p99)", span(added), span(tails[1]-tails[0])), nil
}

// byTurns asks on each way that often, evenly paced, and returns how long the
// answers took.
func byTurns(ctx context.Context, ways []*caller, turns int, done *atomic.Int64) ([][]time.Duration, error) {
	samples := make([][]time.Duration, len(ways))
	pace := time.NewTicker(latencyGap)
	defer pace.Stop()
	for range turns {
		for i, c := range ways {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			a := c.ask(ctx)
			if a.err != nil {
				return nil, fmt.Errorf("%s asks %s: %w", c.pod.Name(), c.addr, a.err)
			}
			samples[i] = append(samples[i], a.took)
		}
		done.Add(1)
	}
	return samples, nil
}
