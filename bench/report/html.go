package report

import (
	"bytes"
	_ "embed" // style and script
	"fmt"
	"html"
	"io"
	"strings"
)

//go:embed page.css
var style string

//go:embed page.js
var script string

// page is written by hand and not by html/template, whose use of reflection makes the
// linker keep every exported method of the whole binary. All that is not a constant goes
// through esc.
type page struct {
	bytes.Buffer
	doc      *Document
	groups   []group
	subjects []string
}

func esc(s string) string { return html.EscapeString(s) }

func (p *page) f(format string, args ...any) { fmt.Fprintf(p, format, args...) }

// HTML writes the page: one file that asks nothing of anybody.
func (d *Document) HTML(w io.Writer) error {
	p := &page{doc: d, groups: groups(d.Rows), subjects: subjectsOf(d.Rows)}
	p.head()
	p.overview()
	p.reading()
	p.memory()
	p.f(`<div class="cases">`)
	for _, name := range p.cases() {
		p.section(name)
	}
	p.f(`</div>`)
	p.table()
	p.f("</main><script>%s</script></body></html>\n", script)
	_, err := w.Write(p.Bytes())
	return err
}

// cases returns the names of the cases, in order.
func (p *page) cases() (names []string) {
	for i := range p.groups {
		if n := p.groups[i].name; len(names) == 0 || names[len(names)-1] != n {
			names = append(names, n)
		}
	}
	return names
}

func (p *page) head() {
	title := p.doc.Title
	if title == "" {
		title = "What a sidecar costs"
	}
	p.f(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">`)
	p.f(`<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">`)
	p.f(`<title>%s</title><style>%s</style></head><body>`, esc(title), style)
	p.f(`<a class="skip" href="#main">To the figures</a><header><h1>%s</h1>`, esc(title))
	p.f(`<button type="button" id="theme" hidden>Light or dark</button><dl class="facts">`)
	fact := func(name, value string) {
		if value != "" {
			p.f(`<div><dt>%s</dt><dd>%s</dd></div>`, name, esc(value))
		}
	}
	fact("Machine", p.doc.Machine)
	fact("Commit", p.doc.Commit)
	fact("Taken", p.doc.Taken)
	var versions []string
	for _, v := range p.doc.Versions {
		versions = append(versions, v.Name+" "+v.Version)
	}
	fact("Versions", strings.Join(versions, " · "))
	p.f(`</dl>`)
	for _, n := range p.doc.Notes {
		p.f(`<p class="note">%s</p>`, esc(n))
	}
	p.f(`<nav aria-label="Cases"><ul>`)
	for _, name := range p.cases() {
		p.f(`<li><a href="#%s">%s</a></li>`, anchor(name), esc(name))
	}
	p.f(`<li><a href="#all">all figures</a></li></ul></nav></header><main id="main">`)
}

// anchor makes a name safe for an address within the page.
func anchor(name string) string {
	return "case-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
}

// overview compares the product with Envoy, a bar for each case's headline.
func (p *page) overview() {
	var bars []bar
	last := ""
	for i := range p.groups {
		g := &p.groups[i]
		x, ok := g.ratio(Outrigger)
		if !ok || g.name == last || x <= 0 {
			continue
		}
		last = g.name
		m := lookUp(g.metric)
		note, cost, text := "less is better", x, fmt.Sprintf("%.2f×", x)
		if m.more {
			note, cost = "more is better", 1/x
			text = "(more is better) " + text
		}
		bars = append(bars, bar{
			label: g.name, link: "#" + anchor(g.name), class: "outrigger", value: cost, text: text,
			aria: fmt.Sprintf("%s, %s: %.2f times Envoy's, %s", g.name, m.label, x, note), note: m.label + ", " + note,
		})
	}
	if len(bars) == 0 {
		return
	}
	p.f(`<section aria-labelledby="overview"><h2 id="overview">Outrigger beside Envoy</h2>`)
	p.f(`<p>The main figure of each case as a multiple of Envoy's. A bar is the cost: where more is better it is the inverse. The line marks Envoy.</p>`)
	p.bars(bars, 1)
	p.f(`</section>`)
}

func (p *page) reading() {
	p.f(`<details class="how"><summary>How to read this page</summary>`)
	for _, text := range []string{
		"Bars are medians over rounds in which all subjects took turns; the thin line over a bar spans from the least round to the most. Where spans overlap, do not conclude much.",
		"×E is a median divided by Envoy's from the same run. Absolute times depend on the machine, and less so the ratios.",
		"CPU per request is user and system time that the kernel charged to all proxies in the path, divided by the requests; the load generator and the backend are not in it.",
		"At a fixed rate, requests become due at random times whether or not earlier ones were answered, and latency counts from then: who was made to wait by a stall is counted. Added latency is the difference to no proxy in the same round.",
		"In the curves of latency each step to the right is a ten times rarer request: half of all are left of p50, one in a thousand right of p99.9.",
		"Every figure is in the table at the end.",
	} {
		p.f(`<p>%s</p>`, text)
	}
	p.f(`</details>`)
}

// section shows one case; those with one chart share a line where there is room.
func (p *page) section(name string) {
	var charts []*group
	curves := p.curves(name)
	for i := range p.groups {
		if g := &p.groups[i]; g.name == name && (len(curves) == 0 || !inCurve(g.metric)) {
			charts = append(charts, g)
		}
	}
	kind := ""
	if len(charts) > 1 || len(curves) > 0 {
		kind = ` class="wide"`
	}
	id := anchor(name)
	p.f(`<section%s aria-labelledby="%s"><h2 id="%s" tabindex="-1">%s</h2>`, kind, id, id, esc(name))
	p.f(`<p>%s</p><div class="grid">`, esc(p.doc.Cases[name]))
	p.latencies(curves)
	for _, g := range charts {
		p.chart(g)
	}
	p.f(`</div></section>`)
}

// chart is the bars of one metric.
func (p *page) chart(g *group) {
	m := lookUp(g.metric)
	better := "less is better"
	if m.more {
		better = "more is better"
	}
	p.f(`<figure><figcaption>%s <small>%s</small></figcaption>`, esc(m.title()), better)
	var bars []bar
	for _, s := range p.subjects {
		r, ok := g.of(s)
		if !ok {
			continue
		}
		b := bar{label: s, class: class(s), value: r.Median, text: m.show(r.Median)}
		b.aria = fmt.Sprintf("%s: %s %s", s, b.text, m.unit)
		if r.Rounds > 1 {
			b.least, b.most, b.span = r.Min, r.Max, true
			b.note = fmt.Sprintf("%s – %s in %d rounds", m.show(r.Min), m.show(r.Max), r.Rounds)
			b.aria += ", " + b.note
		}
		if x, ok := g.ratio(s); ok {
			b.text += fmt.Sprintf(" · %.2f×E", x)
			b.aria += fmt.Sprintf(", %.2f times Envoy's", x)
		}
		bars = append(bars, b)
	}
	p.bars(bars, 0)
	p.f(`</figure>`)
}

// class is the colour of a subject.
func class(subject string) string {
	for _, s := range order {
		if s == subject {
			return s
		}
	}
	return "other"
}

// bar is one bar of a chart.
type bar struct {
	label, link, class, text, note, aria string
	value, least, most                   float64
	span                                 bool
}

// bars draws bars from 0, and a line at mark unless it is 0.
func (p *page) bars(bars []bar, mark float64) {
	end := mark
	for _, b := range bars {
		end = max(end, b.value, b.most)
	}
	if end <= 0 {
		end = 1
	}
	percent := func(v float64) float64 { return max(v, 0) / end * 100 }
	p.f(`<ul class="bars">`)
	for _, b := range bars {
		label := esc(b.label)
		if b.link != "" {
			label = fmt.Sprintf(`<a href="%s">%s</a>`, esc(b.link), label)
		}
		p.f(`<li><span class="name">%s</span><span class="track" role="img" aria-label="%s" title="%s">`, label, esc(b.aria), esc(b.note))
		p.f(`<span class="bar %s" style="width:%.2f%%"></span>`, b.class, percent(b.value))
		if b.span {
			p.f(`<span class="span" style="left:%.2f%%;width:%.2f%%"></span>`, percent(b.least), percent(b.most-b.least))
		}
		if mark > 0 {
			p.f(`<span class="mark" style="left:%.2f%%"></span>`, percent(mark))
		}
		p.f(`</span><span class="value">%s</span></li>`, esc(b.text))
	}
	p.f(`</ul>`)
}

// table has all figures; the script lets it be filtered.
func (p *page) table() {
	p.f(`<section aria-labelledby="all"><h2 id="all" tabindex="-1">All figures</h2>`)
	p.f(`<p id="filter-box" hidden><label>Only rows with <input id="filter" type="search" autocomplete="off"></label> <output id="filter-count" for="filter"></output></p>`)
	p.f(`<div class="scroll" tabindex="0" role="region" aria-labelledby="all"><table><thead><tr>`)
	for i, h := range []string{"Case", "Metric", "Subject", "Median", "Least", "Most", "×E", "Rounds"} {
		kind := ""
		if i > 2 {
			kind = ` class="n"`
		}
		p.f(`<th scope="col"%s>%s</th>`, kind, h)
	}
	p.f(`</tr></thead><tbody>`)
	for i := range p.groups {
		g := &p.groups[i]
		m := lookUp(g.metric)
		for _, s := range p.subjects {
			r, ok := g.of(s)
			if !ok {
				continue
			}
			ratio := ""
			if x, ok := g.ratio(s); ok {
				ratio = fmt.Sprintf("%.2f", x)
			}
			p.f(`<tr><th scope="row">%s</th><td title="%s">%s</td><td><span class="dot %s"></span>%s</td>`,
				esc(g.name), esc(g.metric), esc(m.title()), class(s), esc(s))
			p.f(`<td class="n">%s</td><td class="n">%s</td><td class="n">%s</td><td class="n">%s</td><td class="n">%d</td></tr>`,
				m.show(r.Median), m.show(r.Min), m.show(r.Max), ratio, r.Rounds)
		}
	}
	p.f(`</tbody></table></div></section>`)
}
