package bench_test

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/bench"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

func row(name, subject, metric string, median float64) report.Row {
	return report.Row{Case: name, Subject: subject, Metric: metric, Median: median, Min: median, Max: median, Rounds: 5}
}

func TestCheckHoldsMediansAgainstLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		rows           []report.Row
		of, metric     string
		held           bool
		limit          float64
		missing, bound string
	}{
		{
			name: "a share of Envoy's figure, reached exactly", of: "http1-hop", metric: "cpu_us_per_op", held: true, limit: 40, bound: "≤ 0.50 × envoy",
			rows: []report.Row{row("http1-hop", "outrigger", "cpu_us_per_op", 40), row("http1-hop", "envoy", "cpu_us_per_op", 80)},
		},
		{
			name: "a share of Envoy's figure, exceeded", of: "http1-hop", metric: "cpu_us_per_op", limit: 40,
			rows: []report.Row{row("http1-hop", "outrigger", "cpu_us_per_op", 40.1), row("http1-hop", "envoy", "cpu_us_per_op", 80)},
		},
		{
			name: "more is better, enough", of: "tcp-bulk", metric: "gbit_per_cpu_s", held: true, limit: 15, bound: "≥ 1.50 × envoy",
			rows: []report.Row{row("tcp-bulk", "outrigger", "gbit_per_cpu_s", 15), row("tcp-bulk", "envoy", "gbit_per_cpu_s", 10)},
		},
		{
			name: "more is better, too little", of: "tcp-mtls-bulk", metric: "gbit_per_cpu_s", limit: 9,
			rows: []report.Row{row("tcp-mtls-bulk", "outrigger", "gbit_per_cpu_s", 8.9), row("tcp-mtls-bulk", "envoy", "gbit_per_cpu_s", 10)},
		},
		{
			name: "a fixed limit needs no Envoy", of: "idle-plain", metric: "bytes_per_conn", held: true, limit: 16384,
			rows: []report.Row{row("idle-plain", "outrigger", "bytes_per_conn", 9000)},
		},
		{
			name: "another case of outrigger's own", of: "idle-10k", metric: "p99_ms", held: true, limit: 2.6, bound: "≤ 1.30 × rate-1000",
			rows: []report.Row{row("idle-10k", "outrigger", "p99_ms", 2.5), row("rate-1000", "outrigger", "p99_ms", 2), row("rate-1000", "envoy", "p99_ms", 1)},
		},
		{
			name: "outrigger was not measured", of: "start-1000", metric: "ms", limit: 150, missing: "outrigger's figure",
			rows: []report.Row{row("start-1000", "envoy", "ms", 900)},
		},
		{
			name: "Envoy was not measured", of: "new-mtls", metric: "cpu_us_per_op", missing: "envoy's figure of new-mtls",
			rows: []report.Row{row("new-mtls", "outrigger", "cpu_us_per_op", 700)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, v := range bench.Check(c.rows) {
				if v.Case != c.of || v.Metric != c.metric {
					continue
				}
				if v.Held != c.held || v.Missing != c.missing || v.Limit < c.limit-1e-9 || v.Limit > c.limit+1e-9 || !strings.Contains(v.Rule, c.bound) {
					t.Errorf("got %+v", v)
				}
				return
			}
			t.Errorf("no verdict on %s", c.of)
		})
	}
}

func TestTwoLimitsOnOneFigureAreBothHeld(t *testing.T) {
	t.Parallel()
	rows := []report.Row{row("services-10000", "outrigger", "cpu_ms", 1200), row("services-10000", "envoy", "cpu_ms", 20_000)}
	var got []bool
	for _, v := range bench.Check(rows) {
		if v.Case == "services-10000" && v.Metric == "cpu_ms" {
			got = append(got, v.Held)
		}
	}
	if len(got) != 2 || !got[0] || got[1] {
		t.Errorf("got %v, want the share of Envoy's held and the second of CPU not", got)
	}
}

func TestEveryLimitIsOnACaseThatExists(t *testing.T) {
	t.Parallel()
	listed := listCases(t)
	for _, v := range bench.Check(nil) {
		if !strings.Contains(listed, v.Case+" ") {
			t.Errorf("there is no case %s", v.Case)
		}
		if v.Held || v.Missing == "" {
			t.Errorf("%s: held without any figure", v.Case)
		}
	}
}
