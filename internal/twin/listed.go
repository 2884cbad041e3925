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
		slices.ContainsFunc(e.Parts, func(p string) bool { return names(p, d) })
}

// names reports whether an entry's pattern is about the part, and about what Outrigger
// says there where the pattern is "part=value".
func names(pattern string, d *Difference) bool {
	if pattern == answerWord {
		return slices.ContainsFunc(answerParts, func(p string) bool { return glob(p, d.Part) })
	}
	part, value, pinned := strings.Cut(pattern, "=")
	return glob(part, d.Part) && (!pinned || glob(value, d.Outrigger))
}

// answerWord is a word for the parts that follow where one proxy answers by itself and the
// other passes the request on. Status and code are not among them: an entry pins these.
const answerWord = "answer"

var answerParts = []string{
	"end", "response.body", "response.bytes", "upstream.attempts",
	"response.header connection", "response.header content-length", "response.header content-type", "response.header date",
	"response.header server", "response.header x-envoy-upstream-service-time", "response.header x-pod",
	"log1.attempts", "log1.authority", "log1.chain", "log1.cluster", "log1.content_type", "log1.details", "log1.flags", "log1.method",
	"log1.original", "log1.path", "log1.protocol", "log1.received", "log1.request_id", "log1.route", "log1.sent", "log1.service_time",
	"log1.upstream_host", "log1.upstream_local", "log1.upstream_peer",
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
