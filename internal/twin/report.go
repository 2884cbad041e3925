package twin

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Report is what a run found.
type Report struct {
	Trials   int
	Families map[string]int
	// Edits are what the relay did to Envoy's configuration, Config names resources
	// that the two did not get alike.
	Edits, Config []string
	// Altered is what was changed on purpose in what Outrigger got.
	Altered []string
	// Open are the differences that nothing explains, Stale the entries that explain
	// nothing, Order the differences in the order of names, which are not judged.
	Open  []Difference
	Stale []Entry
	Order []Difference
	// Gone are recorded differences that do not occur any more, or differ otherwise.
	Gone []Difference
	// Unseen are alterations that no request has met, and requests that met one that is
	// not meant for them.
	Unseen []string
	// Explained counts differences by entry.
	Explained map[int]int

	diffs   []Difference
	listed  []Entry
	partial bool // not all of the corpus was played
}

// judge sorts the differences into explained and open ones: an explained one has a
// reason in the list, and is just as it was recorded; without a record that is not asked.
func (r *Report) judge(listed []Entry, recorded []Difference) {
	known := map[Difference]bool{}
	for _, d := range recorded {
		known[d] = false
	}
	r.listed, r.Explained = listed, map[int]int{}
	for i := range r.diffs {
		explained := false
		for j := range listed {
			if listed[j].explains(&r.diffs[i]) {
				r.Explained[j]++
				explained = true
			}
		}
		_, same := known[r.diffs[i]]
		known[r.diffs[i]] = true
		if !explained || !same && recorded != nil {
			r.Open = append(r.Open, r.diffs[i])
		}
	}
	for _, d := range recorded {
		if !known[d] && !r.partial {
			r.Gone = append(r.Gone, d)
		}
	}
	for j := range listed {
		if r.Explained[j] == 0 && !r.partial {
			r.Stale = append(r.Stale, listed[j])
		}
	}
}

// Failed reports whether anything is left to be fixed or explained.
func (r *Report) Failed() bool {
	return len(r.Open)+len(r.Stale)+len(r.Gone)+len(r.Config)+len(r.Unseen) > 0
}

// Write prints the report; all prints what is explained or not judged too.
func (r *Report) Write(w io.Writer, all bool) {
	out := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	out("\nEnvoy's configuration was edited (first pod; Outrigger gets the same):\n")
	for _, e := range r.Edits {
		out("  %s\n", e)
	}
	out("\nrequests:\n")
	for _, f := range slices.Sorted(maps.Keys(r.Families)) {
		out("  %5d %s\n", r.Families[f], f)
	}
	r.writeListed(out, all)
	if len(r.Order) > 0 {
		out("\nthe order of header names differs %d times, which is not judged\n", len(r.Order))
		if all {
			for _, d := range r.Order {
				out("  %v\n", d)
			}
		}
	}
	for _, d := range r.Config {
		out("\nnot the same configuration: %s\n", d)
	}
	for _, e := range r.Stale {
		out("\nstale entry, docs/differences.md:%d: %s: %s no longer occurs\n", e.Line, strings.Join(e.Trials, ", "), strings.Join(e.Parts, ", "))
	}
	if len(r.Open) > 0 {
		out("\ndifferences that nothing explains, or that are not as they were recorded:\n")
		for _, d := range r.Open {
			out("  %v\n", d)
		}
	}
	if len(r.Gone) > 0 {
		out("\nrecorded differences that have not occurred:\n")
		for _, d := range r.Gone {
			out("  %v\n", d)
		}
	}
	for _, u := range r.Unseen {
		out("\nan alteration was not seen as it should be: %s\n", u)
	}
	for _, a := range r.Altered {
		out("\naltered on purpose for Outrigger alone: %s\n", a)
	}
	explained := len(r.diffs) - len(r.Open)
	out("\n%d requests, %d differences: %d explained by %d entries, %d not explained; %d stale entries, %d not as recorded\n",
		r.Trials, len(r.diffs), explained, len(r.Explained), len(r.Open), len(r.Stale), len(r.Gone))
}

func (r *Report) writeListed(out func(string, ...any), all bool) {
	if len(r.Explained) == 0 {
		return
	}
	out("\nexplained differences:\n")
	for j := range r.listed {
		if r.Explained[j] == 0 {
			continue
		}
		e := &r.listed[j]
		out("  %5d × %s: %s\n          %s\n", r.Explained[j], strings.Join(e.Trials, ", "), strings.Join(e.Parts, ", "), e.Reason)
		for i := range r.diffs {
			if all && e.explains(&r.diffs[i]) {
				out("      %v\n", r.diffs[i])
			}
		}
	}
}
