package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestMedianAndQuantile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		values      []float64
		median, p95 float64
	}{
		{"none", nil, 0, 0},
		{"one", []float64{7}, 7, 7},
		{"odd", []float64{3, 1, 2}, 2, 3},
		{"even", []float64{4, 1, 3, 2}, 2.5, 4},
		{"twenty", []float64{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 10.5, 19},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := median(tt.values); got != tt.median {
				t.Errorf("got median %v, want %v", got, tt.median)
			}
			if got := quantile(tt.values, 0.95); got != tt.p95 {
				t.Errorf("got p95 %v, want %v", got, tt.p95)
			}
		})
	}
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	t.Parallel()
	got := ratios([]float64{2, 9}, []float64{1, 3})
	if len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("got %v, want [2 3]", got)
	}
}

func TestTableShowsEverySeriesAndRefusesAnEmptyOne(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	rows := []series{{name: "cost", format: "%.1f", values: []float64{1, 2, 4}, note: verdict(2, 1.8, "%.1f")}}
	if err := table(&out, "title", rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"title", "cost", "2.0", "4.0", "target ≤ 1.8: missed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q without %q", out.String(), want)
		}
	}
	if err := table(io.Discard, "title", []series{{name: "nothing"}}); err == nil {
		t.Error("a series without values is taken")
	}
}

func TestWrkReport(t *testing.T) {
	t.Parallel()
	const good = `Running 2s test @ http://server:8080/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.05ms    0.50ms   9.00ms   70.53%
  30000 requests in 2.50s, 33.16MB read
Requests/sec:  12000.00
`
	for _, tt := range []struct {
		name, report string
		want         load
		fails        bool
	}{
		{name: "good", report: good, want: load{requests: 30000, seconds: 2.5}},
		{name: "in minutes", report: strings.Replace(good, "2.50s", "1.50m", 1), want: load{requests: 30000, seconds: 90}},
		{name: "refused requests", report: good + "  Non-2xx or 3xx responses: 299\n", fails: true},
		{name: "lost connections", report: good + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", fails: true},
		{name: "no requests", report: strings.Replace(good, "30000", "0", 1), fails: true},
		{name: "empty", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseWrk(tt.report)
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("got %v and %v, want %v and failure %v", got, err, tt.want, tt.fails)
			}
		})
	}
}

func TestStatLineWithBracketsInTheName(t *testing.T) {
	t.Parallel()
	const line = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 1 2 3\n"
	if got, err := parseStat(line); got != 2*time.Second || err != nil {
		t.Errorf("got %v and %v, want 2s", got, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x y 0"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestStatusGivesMegabytes(t *testing.T) {
	t.Parallel()
	const status = "Name:\tx\nVmHWM:\t   40000 kB\nVmRSS:\t   30000 kB\nRssAnon:\t   10000 kB\nRssFile:\t   20000 kB\n"
	got, err := parseStatus(status)
	if want := (memory{rss: 30.72, anon: 10.24, file: 20.48, peak: 40.96}); got != want || err != nil {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
	if _, err := parseStatus("Name:\tx\n"); err == nil {
		t.Error("a status without memory is taken")
	}
}

func TestPushTimeIsTheFirstOfTheNode(t *testing.T) {
	t.Parallel()
	const log = "2026-01-02T03:04:05.000001Z\tinfo\tads\tCDS: PUSH for node:other.bench resources:9\n" +
		"2026-01-02T03:04:06.000002Z\tinfo\tads\tLDS: PUSH for node:client.bench resources:9\n" +
		"2026-01-02T03:04:07.000003Z\tinfo\tads\tCDS: PUSH for node:client.bench resources:9\n" +
		"2026-01-02T03:04:08.000004Z\tinfo\tads\tCDS: PUSH for node:client.bench resources:9\n"
	got, err := pushTime([]byte(log), "client.bench")
	if want := time.Date(2026, 1, 2, 3, 4, 7, 3000, time.UTC); !got.Equal(want) || err != nil {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
	if _, err := pushTime([]byte(log), "absent.bench"); err == nil {
		t.Error("a push that never was is found")
	}
}

func TestFindProcessLooksAtProgramAndWord(t *testing.T) {
	t.Parallel()
	if _, err := findProcess("no-such-program", "no-such-word"); err == nil {
		t.Error("a process is found that cannot be there")
	}
}

func TestUnknownMeasurementIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"speed"}, {"hop", "start"}, {"-no-such-flag"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
