package twin

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// outcome is what came of a trial with one proxy: parts by name, such as
// "response.status", "response.header server", "upstream1.line", "log1.flags".
// Parts whose name begins with "order" are shown and not judged.
type outcome map[string]string

// heads puts the lines of a head into the outcome: a part for each name with its
// values in order, and one for the order of names.
func (o outcome) head(prefix string, lines []field) {
	var names []string
	for _, f := range lines {
		key := prefix + ".header " + f.name
		if have, ok := o[key]; ok {
			o[key] = have + " ¦ " + f.value
			continue
		}
		o[key] = f.value
		names = append(names, f.name)
	}
	o["order "+prefix] = strings.Join(names, " ")
}

// upstream puts what reached the servers into the outcome.
func (o outcome) upstream(attempts []attempt) {
	o["upstream.attempts"] = strconv.Itoa(len(attempts))
	for i, a := range attempts {
		prefix := "upstream" + strconv.Itoa(i+1)
		o[prefix+".to"] = a.pod
		o[prefix+".line"] = a.head
		o.head(prefix, a.lines)
		for name, v := range map[string]string{"tls": a.tls, "body": clip(a.body), "end": a.end} {
			if v != "" {
				o[prefix+"."+name] = v
			}
		}
		for _, f := range a.tail {
			o[prefix+".trailer "+f.name] = f.value
		}
	}
}

// logged puts access log lines into the outcome, each field by its name.
func (o outcome) logged(lines []string) {
	n := 0
	for _, line := range lines {
		if strings.Contains(line, "\tpath="+probePath+"\t") {
			continue
		}
		n++
		for text := range strings.SplitSeq(line, "\t") {
			if name, v, ok := strings.Cut(text, "="); ok {
				o[fmt.Sprintf("log%d.%s", n, name)] = v
			}
		}
	}
	o["log.lines"] = strconv.Itoa(n)
}

// clip shortens long bodies so that differences stay readable.
func clip(s string) string {
	const most = 400
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes, sum %x)", s[:most], len(s), sum(s))
}

// Difference is one part in which the two proxies do not agree.
type Difference struct {
	Trial, Part      string
	Envoy, Outrigger string
}

// String tells the difference in three lines.
func (d Difference) String() string {
	return fmt.Sprintf("%s: %s\n      envoy:     %q\n      outrigger: %q", d.Trial, d.Part, d.Envoy, d.Outrigger)
}

// absent stands for a part that one side does not have.
const absent = "(absent)"

// compare returns the differences between two outcomes, and whether they differ in
// the order of names.
func compare(name string, envoy, ours outcome, loose []string) (diffs []Difference, order []Difference) {
	parts := map[string]bool{}
	for p := range envoy {
		parts[p] = true
	}
	for p := range ours {
		parts[p] = true
	}
	e1, o1 := groups(envoy), groups(ours)
	for p := range parts {
		e, inE := envoy[p]
		o, inO := ours[p]
		if g := group(p); (!e1[g] || !o1[g]) && !summary[g] && !telling(p) {
			continue // all of it is missing on one side, which its count or status tells
		}
		if e == o && inE == inO || slices.ContainsFunc(loose, func(l string) bool { return glob(l, p) }) {
			continue
		}
		if !inE {
			e = absent
		}
		if !inO {
			o = absent
		}
		d := Difference{Trial: name, Part: p, Envoy: e, Outrigger: o}
		if !strings.HasPrefix(p, "order") {
			diffs = append(diffs, d)
		} else if inE && inO && sameNames(e, o) {
			order = append(order, d)
		}
	}
	slices.SortFunc(diffs, func(a, b Difference) int { return cmp.Compare(a.Part, b.Part) })
	slices.SortFunc(order, func(a, b Difference) int { return cmp.Compare(a.Part, b.Part) })
	return diffs, order
}

// telling reports whether a part stands for all of a message that one side lacks.
func telling(part string) bool {
	return slices.ContainsFunc([]string{".status", ".reset", ".bytes"}, func(s string) bool { return strings.HasSuffix(part, s) })
}

// summary are the groups of parts that are not of one message or line.
var summary = map[string]bool{"": true, "log": true, "upstream": true, "tls": true}

// group returns what a part is of: "response2", "upstream1", "log1".
func group(part string) string {
	part = strings.TrimPrefix(part, "order ")
	g, _, ok := strings.Cut(part, ".")
	if !ok && !strings.HasPrefix(part, "response") && !strings.HasPrefix(part, "upstream") {
		return ""
	}
	return g
}

func groups(o outcome) map[string]bool {
	all := map[string]bool{}
	for p := range o {
		all[group(p)] = true
	}
	return all
}

// sameNames reports whether two lists have the same words.
func sameNames(a, b string) bool {
	return slices.Equal(slices.Sorted(strings.SplitSeq(a, " ")), slices.Sorted(strings.SplitSeq(b, " ")))
}

// glob matches a text against a pattern in which * stands for any text.
func glob(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for i := 0; i <= len(text); i++ {
		if glob(rest, text[i:]) {
			return true
		}
	}
	return false
}
