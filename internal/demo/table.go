package main

import (
	"strings"
	"unicode/utf8"
)

// table is text in columns. A column whose head begins with ">" is aligned to
// the right; a table without heads has none printed.
type table struct {
	heads []string
	rows  [][]string
}

// add appends a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// indent begins every line below a heading.
const indent = "      "

// gap is between columns.
const gap = "   "

// lines returns the table as lines, the heads dim.
func (s *screen) lines(t *table) []string {
	widths, right := t.layout()
	var lines []string
	if named := strings.Join(t.heads, ""); strings.Trim(named, ">") != "" {
		cells := make([]string, len(t.heads))
		for i, h := range t.heads {
			cells[i] = strings.TrimPrefix(h, ">")
		}
		lines = append(lines, indent+s.paint(dim, align(cells, widths, right)))
	}
	for _, row := range t.rows {
		lines = append(lines, indent+align(row, widths, right))
	}
	return lines
}

// show prints the table.
func (s *screen) show(t *table) { s.print(s.lines(t)...) }

func (t *table) layout() (widths []int, right []bool) {
	widths, right = make([]int, len(t.heads)), make([]bool, len(t.heads))
	for i, h := range t.heads {
		right[i] = strings.HasPrefix(h, ">")
		widths[i] = visible(strings.TrimPrefix(h, ">"))
		for _, row := range t.rows {
			if i < len(row) {
				widths[i] = max(widths[i], visible(row[i]))
			}
		}
	}
	return widths, right
}

func align(cells []string, widths []int, right []bool) string {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString(gap)
		}
		fill := strings.Repeat(" ", max(0, widths[i]-visible(cell)))
		if right[i] {
			b.WriteString(fill + cell)
		} else {
			b.WriteString(cell + fill)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// visible returns how many characters of a text are seen.
func visible(text string) int {
	n := 0
	for {
		before, rest, coloured := strings.Cut(text, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !coloured {
			return n
		}
		_, text, _ = strings.Cut(rest, "m")
	}
}
