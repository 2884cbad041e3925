package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// series is what the rounds gave for one quantity.
type series struct {
	name   string
	format string // of one value
	values []float64
	note   string
}

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

// quantile returns the least value that at least the share q does not exceed.
func quantile(values []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	i := int(q*float64(len(s))+0.999999) - 1
	return s[min(max(i, 0), len(s)-1)]
}

// ratios divides round by round.
func ratios(a, b []float64) []float64 {
	out := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		out = append(out, a[i]/b[i])
	}
	return out
}

// verdict compares a figure with its target.
func verdict(got, target float64, format string) string {
	word := "met"
	if got > target {
		word = "missed"
	}
	return fmt.Sprintf("target ≤ "+format+": %s", target, word)
}

// table prints series under a title.
func table(w io.Writer, title string, rows []series) error {
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "  \tmedian\tp95\tmin\tmax\trounds\t\n")
	for _, r := range rows {
		if len(r.values) == 0 {
			return fmt.Errorf("no value of %s", r.name)
		}
		fmt.Fprintf(t, "  %s\t", r.name)
		for _, v := range []float64{median(r.values), quantile(r.values, 0.95), slices.Min(r.values), slices.Max(r.values)} {
			fmt.Fprintf(t, r.format+"\t", v)
		}
		fmt.Fprintf(t, "%d\t%s\n", len(r.values), r.note)
	}
	return t.Flush()
}
