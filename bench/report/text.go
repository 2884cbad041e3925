package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// JSON writes machine, commit and rows.
func (d *Document) JSON(w io.Writer) error {
	plain := *d
	if plain.Rows == nil {
		plain.Rows = []Row{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(&plain)
}

// Text writes the table for a terminal: two lines for each case and metric, the medians
// with their ratio to Envoy's, and below them least and most.
func (d *Document) Text(w io.Writer) error {
	var b bytes.Buffer
	subjects := subjectsOf(d.Rows)
	lines := [][]string{append([]string{"case", "metric"}, subjects...)}
	all, last := groups(d.Rows), ""
	for i := range all {
		g := &all[i]
		name := g.name
		if name == last {
			name = ""
		}
		last = g.name
		m := lookUp(g.metric)
		first, second := []string{name, g.metric}, []string{"", unitOf(m)}
		for _, s := range subjects {
			value, span := cells(g, m, s)
			first, second = append(first, value), append(second, span)
		}
		lines = append(lines, first, second)
	}
	writeColumns(&b, lines)
	fmt.Fprintf(&b, "\nmedians; ×E: times Envoy's; below them least – most of all rounds\n%s, commit %s\n", d.Machine, d.Commit)
	for _, v := range d.Versions {
		fmt.Fprintf(&b, "%s %s\n", v.Name, v.Version)
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func unitOf(m metric) string {
	if m.more {
		return strings.TrimSpace(m.unit + " (more is better)")
	}
	return m.unit
}

// cells are a subject's median and span.
func cells(g *group, m metric, subject string) (value, span string) {
	r, ok := g.of(subject)
	if !ok {
		return "–", ""
	}
	value = m.show(r.Median)
	if x, ok := g.ratio(subject); ok {
		value += fmt.Sprintf(" %.2f×E", x)
	}
	if r.Rounds > 1 {
		span = m.show(r.Min) + " – " + m.show(r.Max)
	}
	return value, span
}

// writeColumns aligns cells: the first two to the left, figures to the right.
func writeColumns(b *bytes.Buffer, lines [][]string) {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < 2 {
				cell += pad
			} else {
				cell = pad + cell
			}
			b.WriteString(cell + "  ")
		}
		b.Truncate(len(bytes.TrimRight(b.Bytes(), " ")))
		b.WriteString("\n")
	}
}

// Progress tells how far a run has come.
type Progress struct {
	Out   io.Writer
	Total int // of steps

	done int
}

// Step says that a subject's turn has ended with a figure:
// [3/40] http1-hop envoy round 2: 71.2 µs.
func (p *Progress) Step(name, subject string, round int, metricName string, value float64) {
	p.done++
	m := lookUp(metricName)
	fmt.Fprintf(p.Out, "[%d/%d] %s %s round %d: %s\n", p.done, max(p.Total, p.done), name, subject, round,
		strings.TrimSpace(m.show(value)+" "+m.unit))
}
