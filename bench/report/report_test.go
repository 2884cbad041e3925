package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/bench/report"
)

var update = flag.Bool("update", false, "write golden files")

// sample is a document with every kind of figure.
func sample() *report.Document {
	var c report.Collector
	add := func(name, metric string, values map[string]float64) {
		for i := range 3 {
			for _, s := range []string{report.Direct, report.Outrigger, report.Envoy, report.HAProxy, report.Nginx} {
				if v, ok := values[s]; ok {
					c.Add(name, s, metric, v*(1+float64(i-1)/20))
				}
			}
		}
	}
	cpu := func(name string, outrigger, envoy, haproxy, nginx float64) {
		v := map[string]float64{report.Outrigger: outrigger, report.Envoy: envoy, report.HAProxy: haproxy}
		if nginx > 0 {
			v[report.Nginx] = nginx
		}
		add(name, "cpu_us_per_op", v)
	}
	cpu("http1-hop", 31.2, 82.4, 23.5, 22)
	cpu("http1-mtls-pair", 66, 204, 47, 58.1)
	cpu("http2-hop", 10.2, 45, 21, 0)
	add("http2-1mb", "cpu_us_per_op", map[string]float64{report.Outrigger: 1015, report.Envoy: 828, report.HAProxy: 905})
	add("http1-max", "ops_per_s", map[string]float64{report.Direct: 91000, report.Outrigger: 31000, report.Envoy: 14100, report.HAProxy: 45200})
	for i, m := range []string{"p50_ms", "p90_ms", "p99_ms", "p999_ms"} {
		x := math.Pow(1.9, float64(i))
		add("rate-1000", m, map[string]float64{report.Direct: .08 * x, report.Outrigger: .31 * x, report.Envoy: .62 * x, report.HAProxy: .29 * x})
		add("rate-1000", "added_"+m, map[string]float64{report.Outrigger: .23 * x, report.Envoy: .54 * x, report.HAProxy: .21 * x})
	}
	add("tcp-bulk", "gbit_per_cpu_s", map[string]float64{report.Outrigger: 61, report.Envoy: 22, report.HAProxy: 48})
	add("idle-mtls", "bytes_per_conn", map[string]float64{report.Outrigger: 21000, report.Envoy: 55000})
	for i, n := range []int{10, 1000, 10000} {
		name := fmt.Sprintf("services-%d", n)
		c.Add(name, report.Outrigger, "rss_mb", []float64{23.2, 25.7, 36}[i])
		c.Add(name, report.Envoy, "rss_mb", []float64{71, 263, 1850}[i])
		c.Add(name, report.Outrigger, "listening_ms", []float64{60, 90, 300}[i])
		c.Add(name, report.Envoy, "listening_ms", []float64{200, 1900, 22000}[i])
	}
	return &report.Document{
		Machine: "AMD EPYC, 2 processors, Linux 6.18", Commit: "0123abc", Taken: "2026-11-23 12:00 UTC", Rows: c.Rows(),
		Versions: []report.Version{{Name: "envoy", Version: "1.40.0"}, {Name: "haproxy", Version: "2.6.12"}},
		Cases:    map[string]string{"http1-hop": "HTTP/1.1 through one proxy in plain text, 16 connections, answers of 1 KB"},
		Notes:    []string{"the machine was busy: load 3.1 before, 2.8 after"},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed (-update writes it anew):\n%s", name, got)
	}
}

func TestJSONIsWhatWasAgreed(t *testing.T) {
	t.Parallel()
	d := sample()
	d.Rows = d.Rows[:2]
	var b bytes.Buffer
	if err := d.JSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "rows.json", b.Bytes())
	var back report.Document
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back.Rows) != 2 || back.Rows[1] != d.Rows[1] {
		t.Errorf("got %+v (%v)", back, err)
	}
	b.Reset()
	if err := (&report.Document{}).JSON(&b); err != nil || !strings.Contains(b.String(), `"rows": []`) {
		t.Errorf("got %q (%v) of nothing", b.String(), err)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample().Text(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", b.Bytes())
}

func TestTextOfNothing(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := (&report.Document{}).Text(&b); err != nil || b.Len() == 0 {
		t.Errorf("got %q (%v)", b.String(), err)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		values []float64
		want   float64
	}{{"none", nil, 0}, {"one", []float64{7}, 7}, {"odd", []float64{3, 1, 2}, 2}, {"even", []float64{4, 1, 3, 2}, 2.5}} {
		if got := report.Median(tt.values); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRowsHaveMedianAndSpanOfAllRounds(t *testing.T) {
	t.Parallel()
	var c report.Collector
	for _, v := range []float64{3, 1, 2} {
		c.Add("case", report.Envoy, "ms", v)
	}
	c.Add("case", report.Outrigger, "ms", 9)
	rows := c.Rows()
	want := report.Row{Case: "case", Subject: report.Envoy, Metric: "ms", Median: 2, Min: 1, Max: 3, Rounds: 3}
	if len(rows) != 2 || rows[0] != want || rows[1].Rounds != 1 {
		t.Errorf("got %+v", rows)
	}
	if got := c.Values("case", report.Envoy, "ms"); len(got) != 3 || got[0] != 3 {
		t.Errorf("got %v", got)
	}
}

func TestProgressTellsWhereItIs(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	p := report.Progress{Out: &b, Total: 40}
	p.Step("http1-hop", report.Outrigger, 2, "cpu_us_per_op", 31.24)
	p.Step("http1-max", report.Envoy, 2, "ops_per_s", 14100)
	const want = "[1/40] http1-hop outrigger round 2: 31.2 µs\n[2/40] http1-max envoy round 2: 14,100\n"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
