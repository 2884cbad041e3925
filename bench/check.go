package bench

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/outrigger-mesh/outrigger/bench/report"
)

// ErrMissed says that a figure is worse than it must be.
var ErrMissed = errors.New("a limit was missed")

// limit is what a figure of outrigger must not be worse than.
type limit struct {
	name, metric string
	// times Envoy's figure, or the figure of another case of outrigger's own if
	// own is set; or else fixed, in the metric's unit.
	times float64
	own   string
	fixed float64
	// least turns the limit round: more is better.
	least bool
}

// limits are those of the project.
var limits = []limit{
	{name: "http1-hop", metric: cpuPerOp, times: 0.50},
	{name: "http1-mtls-pair", metric: cpuPerOp, times: 0.45},
	{name: "http2-hop", metric: cpuPerOp, times: 0.45},
	{name: "http2-hop-16x1", metric: cpuPerOp, times: 0.65},
	{name: "http2-1mb", metric: cpuPerOp, times: 1.2},
	{name: "grpc-mtls-pair", metric: cpuPerOp, times: 0.50},
	{name: "rate-1000", metric: "added_p90_ms", times: 0.6},
	{name: "rate-1000", metric: "added_p99_ms", times: 0.6},
	{name: "new-mtls", metric: cpuPerOp, times: 1.1},
	{name: "tcp-bulk", metric: gbitPerCPU, times: 1.5, least: true},
	{name: "tcp-mtls-bulk", metric: gbitPerCPU, times: 0.9, least: true},
	{name: "idle-plain", metric: bytesConn, fixed: 16 << 10},
	{name: "idle-mtls", metric: bytesConn, fixed: 32 << 10},
	{name: "idle-10k", metric: "p99_ms", times: 1.3, own: "rate-1000"},
	{name: "services-10", metric: rssMB, fixed: 30},
	{name: "services-1000", metric: rssMB, fixed: 36},
	{name: "services-10000", metric: rssMB, fixed: 50},
	{name: "services-1000", metric: listeningMS, times: 0.15},
	{name: "services-1000", metric: cpuMS, times: 0.15},
	{name: "services-10000", metric: listeningMS, times: 0.15},
	{name: "services-10000", metric: cpuMS, times: 0.15},
	{name: "services-10000", metric: cpuMS, fixed: 1000},
	{name: "start-1000", metric: ms, fixed: 150},
}

// Verdict is one limit held against the figures.
type Verdict struct {
	Case, Metric string
	// Got and Limit are in the metric's unit.
	Got, Limit float64
	// Rule is the limit in words.
	Rule string
	// Missing says which figure is not there; nothing was compared then.
	Missing string
	Held    bool
}

// Check holds medians against the limits.
func Check(rows []report.Row) []Verdict {
	out := make([]Verdict, 0, len(limits))
	for _, l := range limits {
		out = append(out, l.judge(rows))
	}
	return out
}

func (l *limit) judge(rows []report.Row) Verdict {
	v := Verdict{Case: l.name, Metric: l.metric, Rule: l.rule(), Limit: l.fixed}
	got, ok := median(rows, l.name, report.Outrigger, l.metric)
	if !ok {
		v.Missing = "outrigger's figure"
		return v
	}
	v.Got = got
	if l.times > 0 {
		name, subject := l.name, report.Envoy
		if l.own != "" {
			name, subject = l.own, report.Outrigger
		}
		base, ok := median(rows, name, subject, l.metric)
		if !ok {
			v.Missing = subject + "'s figure of " + name
			return v
		}
		v.Limit = l.times * base
	}
	v.Held = got <= v.Limit
	if l.least {
		v.Held = got >= v.Limit
	}
	return v
}

func (l *limit) rule() string {
	sign := "≤"
	if l.least {
		sign = "≥"
	}
	switch {
	case l.own != "":
		return fmt.Sprintf("%s %.2f × %s", sign, l.times, l.own)
	case l.times > 0:
		return fmt.Sprintf("%s %.2f × envoy", sign, l.times)
	default:
		return fmt.Sprintf("%s %g", sign, l.fixed)
	}
}

func median(rows []report.Row, name, subject, metric string) (float64, bool) {
	for _, r := range rows {
		if r.Case == name && r.Subject == subject && r.Metric == metric && r.Rounds > 0 {
			return r.Median, true
		}
	}
	return 0, false
}

// printCheck shows verdicts and fails where one is not good.
func printCheck(w io.Writer, all []Verdict) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\ncase\tmetric\tmust be\tlimit\tgot\t")
	bad := 0
	for _, v := range all {
		word := "held"
		switch {
		case v.Missing != "":
			word = "not measured: " + v.Missing
		case !v.Held:
			word = "MISSED"
		}
		if !v.Held {
			bad++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.4g\t%.4g\t%s\n", v.Case, v.Metric, v.Rule, v.Limit, v.Got, word)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d are not held", ErrMissed, bad, len(all))
	}
	return nil
}
