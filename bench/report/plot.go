package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A plot's size in its own units. It is drawn no wider than the page, so texts stay
// legible on a small screen.
const (
	plotWidth, plotHeight                    = 340.0, 220.0
	marginLeft, marginRight, marginTop, foot = 42.0, 24.0, 12.0, 40.0
)

// dot is a point of a line, with what it says.
type dot struct {
	x, y float64
	text string
}

// line is one subject's.
type line struct {
	subject string
	dots    []dot
}

// tick is a mark on an axis.
type tick struct {
	at   float64
	text string
}

// plot is lines over two axes.
type plot struct {
	title, yTitle, xTitle string
	lines                 []line
	xs, ys                []tick
	scaleX, scaleY        func(float64) float64
}

// draw writes the plot as a figure with its legend.
func (p *page) draw(l *plot) {
	x := scaled(l.scaleX, marginLeft, plotWidth-marginRight, xsOf(l))
	y := scaled(l.scaleY, plotHeight-foot, marginTop, ysOf(l))
	p.f(`<figure class="plot"><figcaption>%s <small>%s</small></figcaption>`, esc(l.title), esc(l.yTitle))
	p.f(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, plotHeight, esc(l.title+": "+summary(l)))
	for _, t := range l.ys {
		p.f(`<path class="rule" d="M%g %.1fH%g"/><text class="tick" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			marginLeft, y(t.at), plotWidth-marginRight, marginLeft-6, y(t.at)+4, esc(t.text))
	}
	for _, t := range l.xs {
		p.f(`<path class="rule" d="M%.1f %gV%g"/><text class="tick" x="%.1f" y="%g" text-anchor="middle">%s</text>`,
			x(t.at), marginTop, plotHeight-foot, x(t.at), plotHeight-foot+16, esc(t.text))
	}
	p.f(`<text class="tick" x="%g" y="%g" text-anchor="middle">%s</text>`, (marginLeft+plotWidth-marginRight)/2, plotHeight-6, esc(l.xTitle))
	for _, s := range l.lines {
		var path strings.Builder
		for i, d := range s.dots {
			fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], x(d.x), y(d.y))
		}
		p.f(`<path class="line %s" d="%s"/>`, class(s.subject), path.String())
		if len(s.dots) > 12 {
			continue // a curve: marks would hide it
		}
		for _, d := range s.dots {
			p.f(`<path class="dot %s" d="%s"><title>%s: %s</title></path>`, class(s.subject), shape(s.subject, x(d.x), y(d.y)), esc(s.subject), esc(d.text))
		}
	}
	p.f(`</svg><ul class="legend">`)
	for _, s := range l.lines {
		p.f(`<li><svg viewBox="-7 -7 14 14" aria-hidden="true"><path class="dot %s" d="%s"/></svg>%s</li>`, class(s.subject), shape(s.subject, 0, 0), esc(s.subject))
	}
	p.f(`</ul></figure>`)
}

// shape tells subjects apart without colour.
func shape(subject string, x, y float64) string {
	switch subject {
	case Outrigger:
		return fmt.Sprintf("M%.1f %.1fm-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0", x, y)
	case Envoy:
		return fmt.Sprintf("M%.1f %.1fm-4 -4h8v8h-8z", x, y)
	case HAProxy:
		return fmt.Sprintf("M%.1f %.1fm0 -5l5 9h-10z", x, y)
	case Nginx:
		return fmt.Sprintf("M%.1f %.1fm0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z", x, y)
	}
	return fmt.Sprintf("M%.1f %.1fm-1.5 -5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z", x, y)
}

// summary says a plot in words.
func summary(l *plot) string {
	var all []string
	for _, s := range l.lines {
		var parts []string
		for _, d := range s.dots {
			if len(s.dots) <= 12 {
				parts = append(parts, d.text)
			}
		}
		all = append(all, s.subject+" "+strings.Join(parts, ", "))
	}
	return strings.Join(all, "; ")
}

// scaled maps values between the ends of an axis.
func scaled(f func(float64) float64, from, to float64, values []float64) func(float64) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, f(v)), max(high, f(v))
	}
	if high <= low {
		high = low + 1
	}
	return func(v float64) float64 { return from + (f(v)-low)/(high-low)*(to-from) }
}

func xsOf(l *plot) (all []float64) {
	for _, t := range l.xs {
		all = append(all, t.at)
	}
	for _, s := range l.lines {
		for _, d := range s.dots {
			all = append(all, d.x)
		}
	}
	return all
}

func ysOf(l *plot) (all []float64) {
	for _, t := range l.ys {
		all = append(all, t.at)
	}
	for _, s := range l.lines {
		for _, d := range s.dots {
			all = append(all, d.y)
		}
	}
	return all
}

// curveMetrics are the quantiles that are drawn as one curve.
var curveMetrics = []struct {
	metric   string
	quantile float64
}{{"p50_ms", 0.5}, {"p90_ms", 0.9}, {"p99_ms", 0.99}, {"p999_ms", 0.999}}

func inCurve(name string) bool {
	for _, m := range curveMetrics {
		if m.metric == name {
			return true
		}
	}
	return false
}

// curves returns a case's latencies: the curves of the document, or else what its rows
// say, if that is two points or more.
func (p *page) curves(name string) (all []Curve) {
	for _, c := range p.doc.Curves {
		if c.Case == name && len(c.Points) > 1 {
			all = append(all, c)
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, s := range p.subjects {
		c := Curve{Case: name, Subject: s}
		for _, m := range curveMetrics {
			for _, r := range p.doc.Rows {
				if r.Case == name && r.Subject == s && r.Metric == m.metric {
					c.Points = append(c.Points, Point{m.quantile, r.Median})
				}
			}
		}
		if len(c.Points) > 1 {
			all = append(all, c)
		}
	}
	return all
}

// latencies draws the quantiles of a case.
func (p *page) latencies(curves []Curve) {
	if len(curves) == 0 {
		return
	}
	l := &plot{
		title: "Latency by quantile", yTitle: "ms, from when a request was due", xTitle: "requests that took at most so long",
		scaleX: func(q float64) float64 { return -math.Log10(1 - min(q, 0.99999)) }, scaleY: linear,
	}
	top := 0.0
	for _, c := range curves {
		s := line{subject: c.Subject}
		for _, pt := range c.Points {
			s.dots = append(s.dots, dot{pt.Quantile, pt.Millis, fmt.Sprintf("%s %s ms", quantileName(pt.Quantile), digits(pt.Millis))})
			top = max(top, pt.Millis)
		}
		slices.SortFunc(s.dots, func(a, b dot) int { return cmp.Compare(a.x, b.x) })
		l.lines = append(l.lines, s)
	}
	for _, m := range curveMetrics {
		l.xs = append(l.xs, tick{m.quantile, quantileName(m.quantile)})
	}
	l.ys = steps(top)
	p.draw(l)
}

func linear(v float64) float64 { return v }

func quantileName(q float64) string {
	return "p" + strconv.FormatFloat(math.Round(q*1e6)/1e4, 'f', -1, 64)
}

// steps returns marks of an axis from 0 to top, at most six.
func steps(top float64) []tick {
	if top <= 0 {
		top = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(top/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if top/(step*m) <= 5 {
			step *= m
			break
		}
	}
	var all []tick
	for i := 0; ; i++ {
		v := step * float64(i)
		all = append(all, tick{v, strconv.FormatFloat(v, 'g', 6, 64)})
		if v >= top {
			return all
		}
	}
}

// memory draws resident memory against the number of services, from the cases that are
// named after it.
func (p *page) memory() {
	const prefix = "services-"
	l := &plot{
		title: "Memory by services", yTitle: "MB resident", xTitle: "services in the mesh",
		scaleX: math.Log10, scaleY: math.Log10,
	}
	low, high := math.Inf(1), 0.0
	for _, s := range p.subjects {
		one := line{subject: s}
		for _, r := range p.doc.Rows {
			n, err := strconv.Atoi(strings.TrimPrefix(r.Case, prefix))
			if r.Metric != "rss_mb" || r.Subject != s || !strings.HasPrefix(r.Case, prefix) || err != nil || n <= 0 || r.Median <= 0 {
				continue
			}
			one.dots = append(one.dots, dot{float64(n), r.Median, fmt.Sprintf("%s services %s MB", thousands(strconv.Itoa(n)), digits(r.Median))})
			low, high = min(low, r.Median), max(high, r.Median)
			if !slices.ContainsFunc(l.xs, func(t tick) bool { return t.at == float64(n) }) {
				l.xs = append(l.xs, tick{float64(n), thousands(strconv.Itoa(n))})
			}
		}
		slices.SortFunc(one.dots, func(a, b dot) int { return cmp.Compare(a.x, b.x) })
		if len(one.dots) > 0 {
			l.lines = append(l.lines, one)
		}
	}
	if len(l.xs) < 2 {
		return
	}
	for v := math.Pow(10, math.Floor(math.Log10(low))); ; v *= 10 {
		l.ys = append(l.ys, tick{v, digits(v)})
		if v >= high {
			break
		}
	}
	for i := range l.ys {
		l.ys[i].text = strconv.FormatFloat(l.ys[i].at, 'f', -1, 64)
	}
	p.f(`<section aria-labelledby="memory"><h2 id="memory">Memory</h2><p>Both axes are logarithmic.</p><div class="grid">`)
	p.draw(l)
	p.f(`</div></section>`)
}
