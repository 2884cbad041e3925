package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/bench/peers"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

// figures are what one turn of one subject gave, by metric.
type figures map[string]float64

// benchCase is one case: a name that is a contract, and how it is taken.
type benchCase struct {
	name, about string
	subjects    []string
	legs        []leg
	backend     echo.Kind

	// run takes the whole case; most do it in rounds.
	run func(context.Context, *runner, *benchCase) error
	// turn is one subject's turn in a round; warm is the turn before the first.
	turn func(ctx context.Context, r *runner, t *track, warm bool) (figures, error)
	// compare derives figures of a round from all subjects' own.
	compare func(round map[string]figures)
}

// inRounds lets the subjects of a case take turns on tracks that stay.
func inRounds(ctx context.Context, r *runner, c *benchCase) error {
	return r.takeTurns(ctx, c)
}

// taker is a track that takes turns, and the case that they belong to.
type taker struct {
	c *benchCase
	t *track
}

// takeTurns takes cases in the same rounds. In each round a subject's turns of all
// cases follow one another, so that what changes on the machine changes for all of
// them.
func (r *runner) takeTurns(ctx context.Context, cases ...*benchCase) error {
	var takers []taker
	defer func() {
		for _, k := range takers {
			if err := k.t.stop(); err != nil {
				r.note(true, "%s: %s: %v", k.c.name, k.t.subject, err)
			}
		}
	}()
	for _, s := range subjects {
		for _, c := range cases {
			if t := r.layOne(ctx, c, s); t != nil {
				takers = append(takers, taker{c, t})
			}
		}
	}
	for n := range r.Rounds {
		rounds := make(map[*benchCase]map[string]figures, len(cases))
		for _, c := range cases {
			rounds[c] = make(map[string]figures)
		}
		for _, k := range slices.Clone(takers) {
			got, err := k.c.turn(ctx, r, k.t, false)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				r.fail(k.c, k.t, err)
				takers = slices.DeleteFunc(takers, func(have taker) bool { return have == k })
				continue
			}
			rounds[k.c][k.t.subject] = got
		}
		for _, c := range cases {
			r.collect(c, n, rounds[c])
		}
		slices.Reverse(takers)
	}
	return nil
}

// layOne starts and warms the track of one subject; nil, with a note, where that
// fails or the subject has no part in the case.
func (r *runner) layOne(ctx context.Context, c *benchCase, subject string) *track {
	if !slices.Contains(r.subjectsOf(c), subject) || ctx.Err() != nil {
		return nil
	}
	t, err := r.layWarm(ctx, c, subject)
	if err != nil {
		if !errors.Is(err, peers.ErrUnsupported) && ctx.Err() == nil {
			r.note(true, "%s: %s: %v", c.name, subject, err)
		}
		return nil
	}
	return t
}

// layWarm starts a track and sends some work along it: connections, caches, what is
// built at first use.
func (r *runner) layWarm(ctx context.Context, c *benchCase, subject string) (*track, error) {
	t, err := r.lay(ctx, c, subject)
	if r.policyRefused(err) {
		t, err = r.lay(ctx, c, subject)
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.turn(ctx, r, t, true); err != nil {
		err = fmt.Errorf("first work: %w", t.explain(err))
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

// policyRefused notices that the product has no authorization yet: then all
// subjects go without, and the results say so.
func (r *runner) policyRefused(err error) bool {
	var refused *peers.RefusedError
	if !r.policy || !errors.As(err, &refused) || !strings.Contains(strings.Join(refused.Texts, " "), "rbac") {
		return false
	}
	r.policy = false
	r.note(false, "no authorization policy: %s refused it", refused.Node)
	return true
}

// fail drops a subject for the rest of a case.
func (r *runner) fail(c *benchCase, t *track, err error) {
	r.note(true, "%s: %s: %v", c.name, t.subject, t.explain(err))
	if err := t.stop(); err != nil {
		r.note(true, "%s: %s: %v", c.name, t.subject, err)
	}
}

// collect takes in a round and tells of it.
func (r *runner) collect(c *benchCase, n int, round map[string]figures) {
	if c.compare != nil {
		c.compare(round)
	}
	var line []string
	for _, s := range subjects {
		got, ok := round[s]
		if !ok {
			continue
		}
		text := []string{s}
		for _, m := range metricOrder {
			if v, ok := got[m]; ok {
				r.figures.Add(c.name, s, m, v)
				if shownMetrics[m] {
					text = append(text, fmt.Sprintf("%.4g", v))
				}
			}
		}
		line = append(line, strings.Join(text, " "))
	}
	r.say("%s: round %d of %d: %s", c.name, n+1, r.Rounds, strings.Join(line, ", "))
}

// The metrics, in the order of the table.
const (
	cpuPerOp    = "cpu_us_per_op"
	clientCPU   = "client_cpu_us_per_op"
	serverCPU   = "server_cpu_us_per_op"
	opsPerSec   = "ops_per_s"
	gbitPerCPU  = "gbit_per_cpu_s"
	gbitPerSec  = "gbit_per_s"
	bytesConn   = "bytes_per_conn"
	rssMB       = "rss_mb"
	listeningMS = "listening_ms"
	cpuMS       = "cpu_ms"
	ms          = "ms"
)

var (
	metricOrder = []string{
		cpuPerOp, clientCPU, serverCPU, gbitPerCPU, gbitPerSec, opsPerSec, bytesConn, rssMB, listeningMS, cpuMS, ms,
		"added_p50_ms", "added_p90_ms", "added_p99_ms", "added_p999_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms",
	}
	// shownMetrics are told while the run goes on.
	shownMetrics = map[string]bool{
		cpuPerOp: true, gbitPerCPU: true, opsPerSec: true, bytesConn: true, listeningMS: true, ms: true, "added_p99_ms": true, "p99_ms": true,
	}
)

var (
	proxies  = []string{report.Outrigger, report.Envoy, report.HAProxy, report.Nginx}
	sidecars = []string{report.Outrigger, report.Envoy}
)
