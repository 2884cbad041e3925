//go:build oracle

package oracle_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// update rewrites the list of known differences. A fix makes it shorter.
var update = flag.Bool("update", false, "rewrite testdata/differences.txt")

const (
	known = "testdata/differences.txt"
	lanes = 3
	// flushed is enough for both proxies to have written their access logs.
	flushed = 1500 * time.Millisecond
)

// lane is one of each proxy; lanes run beside each other.
type lane struct {
	envoy, ours *side
}

func TestAgainstEnvoy(t *testing.T) {
	binary := os.Getenv("OUTRIGGER_ENVOY")
	if binary == "" {
		t.Skip("OUTRIGGER_ENVOY names no Envoy binary to compare with")
	}
	p := newPKI(t)
	all := chosen(t)
	var work [lanes]lane
	for i := range work {
		work[i] = lane{startEnvoy(t, binary, p), startOutrigger(t, p)}
	}
	diffs := make(map[string]map[string]string)
	var wg sync.WaitGroup
	results := make([]map[string]map[string]string, lanes)
	for i, l := range work {
		var mine []numbered
		for n := i; n < len(all); n += lanes {
			mine = append(mine, numbered{n, &all[n]})
		}
		wg.Go(func() { results[i] = l.compare(t, mine) })
	}
	wg.Wait()
	for _, r := range results {
		maps.Copy(diffs, r)
	}
	listed := readKnown(t)
	// What differs newly is tried again with nothing beside it: a slow machine is
	// no difference.
	var again []numbered
	for n := range all {
		if d := diffs[all[n].name]; d != nil && (*update || !covers(listed[all[n].name], d)) {
			again = append(again, numbered{len(all) + n, &all[n]})
		}
	}
	for name, d := range work[0].compare(t, again) {
		diffs[name] = d
	}
	for _, tr := range again {
		if d := diffs[tr.name]; len(d) == 0 {
			delete(diffs, tr.name)
		}
	}
	report(t, all, diffs, listed)
}

type numbered struct {
	n int
	*trial
}

// compare plays trials on both proxies and returns, by trial and part, how what
// they did differs. A trial without any difference has an empty entry.
func (l lane) compare(t *testing.T, trials []numbered) map[string]map[string]string {
	t.Helper()
	var got [2][]outcome
	for _, tr := range trials {
		var both [2]outcome
		var wg sync.WaitGroup
		for i, s := range []*side{l.envoy, l.ours} {
			wg.Go(func() { both[i] = s.play(t, tr.trial, tr.n) })
		}
		wg.Wait()
		got[0], got[1] = append(got[0], both[0]), append(got[1], both[1])
	}
	out := make(map[string]map[string]string)
	if len(trials) == 0 {
		return out
	}
	time.Sleep(flushed)
	theirs, ours := l.envoy.lines(t), l.ours.lines(t)
	for i, tr := range trials {
		a, b := &got[0][i], &got[1][i]
		a.log, b.log = theirs[a.local], ours[b.local]
		out[tr.name] = differences(tr.name, l.envoy.describe(a), l.ours.describe(b))
	}
	return out
}

func differences(name string, a, b map[string]string) map[string]string {
	out := make(map[string]string)
	for part := range a {
		if a[part] != b[part] && !racy(name, part) {
			out[part] = lineDiff(a[part], b[part])
		}
	}
	return out
}

// chosen are the trials whose names ORACLE_ONLY matches.
func chosen(t *testing.T) []trial {
	t.Helper()
	all := trials()
	seen := make(map[string]bool)
	for _, tr := range all {
		if seen[tr.name] {
			t.Fatalf("two trials are called %q", tr.name)
		}
		seen[tr.name] = true
	}
	if only := os.Getenv("ORACLE_ONLY"); only != "" {
		re := regexp.MustCompile(only)
		all = slices.DeleteFunc(all, func(tr trial) bool { return !re.MatchString(tr.name) })
	}
	return all
}

// readKnown reads the list: trial, tab, its differing parts, tab, the reason.
func readKnown(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]string)
	for line := range strings.Lines(string(b)) {
		if fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); len(fields) == 3 {
			out[fields[0]] = strings.Split(fields[1], ",")
		}
	}
	return out
}

func covers(parts []string, d map[string]string) bool {
	for part := range d {
		if !slices.Contains(parts, part) {
			return false
		}
	}
	return true
}

func report(t *testing.T, all []trial, diffs map[string]map[string]string, listed map[string][]string) {
	t.Helper()
	var list strings.Builder
	gone := 0
	for _, tr := range all {
		d := diffs[tr.name]
		if len(d) == 0 {
			if listed[tr.name] != nil {
				gone++
			}
			continue
		}
		parts := slices.Sorted(maps.Keys(d))
		fmt.Fprintf(&list, "%s\t%s\t%s\n", tr.name, strings.Join(parts, ","), reason(tr.name))
		if *update || covers(listed[tr.name], d) {
			if testing.Verbose() && os.Getenv("ORACLE_ONLY") != "" {
				t.Logf("%s (known: %s)\n%s", tr.name, reason(tr.name), show(d))
			}
			continue
		}
		t.Errorf("%s differs (E: Envoy, O: Outrigger)\n%s", tr.name, show(d))
	}
	t.Logf("%d trials, %d differ as listed in %s", len(all), strings.Count(list.String(), "\n"), known)
	if gone > 0 {
		t.Logf("%d listed differences are gone: run with -update", gone)
	}
	if *update {
		if err := os.WriteFile(known, []byte(list.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func show(d map[string]string) string {
	var b strings.Builder
	for _, part := range slices.Sorted(maps.Keys(d)) {
		fmt.Fprintf(&b, "  %s\n%s", part, d[part])
	}
	return b.String()
}

// lineDiff shows the lines of one text that are not in the other, in order.
func lineDiff(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	common := longest(as, bs)
	var out strings.Builder
	i, j := 0, 0
	for i < len(as) || j < len(bs) {
		switch {
		case i < len(as) && j < len(bs) && as[i] == bs[j]:
			i, j = i+1, j+1
		case j == len(bs) || i < len(as) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(&out, "    E %q\n", as[i])
			i++
		default:
			fmt.Fprintf(&out, "    O %q\n", bs[j])
			j++
		}
	}
	return out.String()
}

// longest is the table of the longest common subsequences of all tails.
func longest(as, bs []string) [][]int {
	t := make([][]int, len(as)+1)
	for i := range t {
		t[i] = make([]int, len(bs)+1)
	}
	for i := len(as) - 1; i >= 0; i-- {
		for j := len(bs) - 1; j >= 0; j-- {
			if as[i] == bs[j] {
				t[i][j] = t[i+1][j+1] + 1
			} else {
				t[i][j] = max(t[i+1][j], t[i][j+1])
			}
		}
	}
	return t
}
