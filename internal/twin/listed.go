package twin

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Entry is a listed difference: a row of docs/differences.md.
type Entry struct {
	// Trials and Parts are patterns in which * stands for any text.
	Trials, Parts []string
	Reason        string
	Line          int
}

// explains reports whether the entry is about a difference.
func (e *Entry) explains(d *Difference) bool {
	return slices.ContainsFunc(e.Trials, func(p string) bool { return glob(p, d.Trial) }) &&
		slices.ContainsFunc(e.Parts, func(p string) bool { return glob(p, d.Part) })
}

// listHeading begins the table that is read; the next heading ends it.
const listHeading = "## The list"

var code = regexp.MustCompile("`([^`]+)`")

// ReadList reads the table of docs/differences.md. Its columns are the requests,
// the parts and the reason; the first two hold patterns as code.
func ReadList(file string) ([]Entry, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseList(file, string(text))
}

func parseList(file, text string) ([]Entry, error) {
	var entries []Entry
	inside, n := false, 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "## ") {
			inside = line == listHeading
			continue
		}
		if !inside || !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| Requests") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 3 {
			return nil, fmt.Errorf("%s:%d: got %d columns, want requests, parts and reason", file, n, len(cells))
		}
		e := Entry{Trials: codes(cells[0]), Parts: codes(cells[1]), Reason: strings.TrimSpace(cells[2]), Line: n}
		if len(e.Trials) == 0 || len(e.Parts) == 0 || e.Reason == "" {
			return nil, fmt.Errorf("%s:%d: an entry needs requests, parts and a reason", file, n)
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 && !strings.Contains(text, listHeading) {
		return nil, errors.New(file + " has no heading \"" + listHeading + "\"")
	}
	return entries, nil
}

func codes(cell string) []string {
	var out []string
	for _, m := range code.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}
