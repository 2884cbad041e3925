package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// metric is what is known about a figure by its name.
type metric struct {
	label string
	unit  string
	more  bool // is better
	scale float64
}

// metrics are those with words of their own; latencies are recognised by their names.
var metrics = map[string]metric{
	"cpu_us_per_op":        {label: "CPU per request, all proxies", unit: "µs"},
	"client_cpu_us_per_op": {label: "of it, the client's proxy", unit: "µs"},
	"server_cpu_us_per_op": {label: "of it, the server's proxy", unit: "µs"},
	"gbit_per_cpu_s":       {label: "data per second of CPU", unit: "Gbit", more: true},
	"gbit_per_s":           {label: "throughput", unit: "Gbit/s", more: true},
	"ops_per_s":            {label: "requests per second", more: true},
	"bytes_per_conn":       {label: "memory per connection", unit: "KiB", scale: 1. / 1024},
	"rss_mb":               {label: "resident memory", unit: "MB"},
	"listening_ms":         {label: "start to listening", unit: "ms"},
	"cpu_ms":               {label: "CPU until then", unit: "ms"},
	"ms":                   {label: "first configuration to first request", unit: "ms"},
}

// lookUp describes a metric; unknown ones go by their name.
func lookUp(name string) metric {
	m, known := metrics[name]
	if !known {
		m.label = strings.ReplaceAll(name, "_", " ")
		rest, added := strings.CutPrefix(name, "added_")
		if p, ok := percentile(rest); ok {
			m.label, m.unit = "latency, "+p, "ms"
			if added {
				m.label = "added latency, " + p
			}
		}
	}
	if m.scale == 0 {
		m.scale = 1
	}
	return m
}

// percentile reads p999_ms as p99.9.
func percentile(name string) (string, bool) {
	digits, ok := strings.CutSuffix(name, "_ms")
	digits, p := strings.CutPrefix(digits, "p")
	if _, err := strconv.Atoi(digits); !ok || !p || err != nil {
		return "", false
	}
	if len(digits) > 2 {
		digits = digits[:2] + "." + digits[2:]
	}
	return "p" + digits, true
}

// title is the label with its unit.
func (m metric) title() string {
	if m.unit == "" {
		return m.label
	}
	return m.label + ", " + m.unit
}

// show writes a value of the metric with three digits, without its unit.
func (m metric) show(v float64) string { return digits(v * m.scale) }

func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "?"
	case a == 0:
		return "0"
	case a >= 100:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a >= 0.001:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// thousands puts commas into a whole number.
func thousands(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// order is that of the subjects; others follow.
var order = []string{Direct, Outrigger, Envoy, HAProxy, Nginx}

// subjectsOf returns who appears in rows, in order.
func subjectsOf(rows []Row) []string {
	var all []string
	for _, r := range rows {
		if !slices.Contains(all, r.Subject) {
			all = append(all, r.Subject)
		}
	}
	rank := func(s string) int {
		if i := slices.Index(order, s); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(all, func(a, b string) int { return rank(a) - rank(b) })
	return all
}

// group is the rows of one case and metric.
type group struct {
	name, metric string
	rows         []Row
}

// of returns a subject's row.
func (g *group) of(subject string) (Row, bool) {
	i := slices.IndexFunc(g.rows, func(r Row) bool { return r.Subject == subject })
	if i < 0 {
		return Row{}, false
	}
	return g.rows[i], true
}

// ratio compares a subject with Envoy.
func (g *group) ratio(subject string) (float64, bool) {
	r, ok := g.of(subject)
	e, has := g.of(Envoy)
	if !ok || !has || e.Median == 0 || subject == Envoy || subject == Direct {
		return 0, false
	}
	return r.Median / e.Median, true
}

// headlines are the metrics that stand for a case, the first that it has.
var headlines = []string{
	"added_p90_ms", "cpu_us_per_op", "gbit_per_cpu_s", "bytes_per_conn", "rss_mb", "ms", "ops_per_s", "p99_ms",
}

// weight is the least for what stands for a case.
func weight(metricName string) int {
	if i := slices.Index(headlines, metricName); i >= 0 {
		return i
	}
	return len(headlines)
}

// groups puts rows that are compared with each other together, in the order in which
// cases and metrics came, the headline first.
func groups(rows []Row) []group {
	var all []group
	for _, r := range rows {
		i := slices.IndexFunc(all, func(g group) bool { return g.name == r.Case && g.metric == r.Metric })
		if i < 0 {
			i = len(all)
			all = append(all, group{name: r.Case, metric: r.Metric})
		}
		all[i].rows = append(all[i].rows, r)
	}
	var cases []string
	for _, g := range all {
		if !slices.Contains(cases, g.name) {
			cases = append(cases, g.name)
		}
	}
	first := make(map[string]int) // the best weight of each case
	for _, g := range all {
		w := weight(g.metric)
		if best, ok := first[g.name]; !ok || w < best {
			first[g.name] = w
		}
	}
	behind := func(g group) int {
		if weight(g.metric) == first[g.name] {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b group) int {
		return cmp.Or(slices.Index(cases, a.name)-slices.Index(cases, b.name), behind(a)-behind(b))
	})
	return all
}
