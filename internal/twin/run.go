package twin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/outrigger-mesh/outrigger/internal/relay"
)

// Config says what to run.
type Config struct {
	// Envoy is the path of a real Envoy, BinDir the folder of Outrigger's binaries.
	Envoy, BinDir string
	// Alter names what the relay changes in one route of what Outrigger gets, so that
	// the run has to fail; see Alterations.
	Alter string
	// Only keeps the trials whose name matches the pattern; empty keeps all.
	Only string
	// Listed are the differences that are explained, Recorded what exactly they are.
	Listed   []Entry
	Recorded []Difference
	// Progress receives a line for each step.
	Progress func(string)
}

// workers is how many trials are played at a time.
const workers = 12

// Run plays the corpus through both proxies and judges what differs.
func Run(ctx context.Context, c Config) (*Report, error) {
	if _, ok := alterations[c.Alter]; c.Alter != "" && c.Alter != AlterAll && !ok {
		return nil, fmt.Errorf("cannot alter %q, only %s", c.Alter, strings.Join(Alterations(), ", "))
	}
	trials, err := chosen(c.Only)
	if err != nil {
		return nil, err
	}
	if c.Alter == AlterAll {
		trials = slices.DeleteFunc(trials, func(t trial) bool { return !meeting(t.name) })
	}
	t, err := build(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := t.compare(ctx, c, trials)
	if err = errors.Join(err, t.close()); err != nil {
		return nil, err
	}
	return r, nil
}

// compare runs both proxies, and Outrigger once more for each alteration if all are
// asked for.
func (t *town) compare(ctx context.Context, c Config, trials []trial) (*Report, error) {
	alter := c.Alter
	if alter == AlterAll {
		alter = ""
	}
	ours, err := t.run(ctx, c, playing{Outrigger, alter, firstPorts[Outrigger]}, trials)
	if err != nil {
		return nil, err
	}
	theirs, err := t.run(ctx, c, playing{Envoy, "", firstPorts[Envoy]}, trials)
	if err != nil {
		return nil, err
	}
	r := report(c, trials, theirs, ours)
	if alter == "" {
		r.Config = t.sameConfig()
	} else if r.Altered = t.altered(); len(r.Altered) == 0 {
		return nil, fmt.Errorf("no route was altered by %q", alter)
	}
	for _, e := range t.subjects[0].relays[Envoy].Edits() {
		r.Edits = append(r.Edits, e.String())
	}
	if c.Alter != AlterAll {
		return r, nil
	}
	for i, kind := range Alterations() {
		if ours, err = t.run(ctx, c, playing{Outrigger, kind, alteredPorts + i*len(trials)}, trials); err != nil {
			return nil, err
		}
		a := alterations[kind]
		if len(t.altered()) == 0 {
			return nil, fmt.Errorf("no route was altered by %q", kind)
		}
		found := report(c, trials, theirs, ours)
		r.Unseen = append(r.Unseen, a.unseen(kind, found)...)
		say(c, "%s: %s %s: %d differences", kind, a.route, a.what, len(found.Open))
	}
	return r, nil
}

// report compares and judges outcomes.
func report(c Config, trials []trial, theirs, ours []outcome) *Report {
	r := &Report{Trials: len(trials), Families: families(trials), partial: c.Only != "" || c.Alter == AlterAll}
	for i := range trials {
		diffs, order := compare(trials[i].name, theirs[i], ours[i], trials[i].loose)
		r.diffs, r.Order = append(r.diffs, diffs...), append(r.Order, order...)
	}
	r.judge(c.Listed, c.Recorded)
	return r
}

// playing is one proxy's turn.
type playing struct {
	proxy     Proxy
	alter     string // what is altered, or nothing
	firstPort int    // the client's of the first trial
}

// chosen returns the trials whose names match.
func chosen(only string) ([]trial, error) {
	all := trials()
	names := map[string]bool{}
	for i := range all {
		if names[all[i].name] {
			return nil, fmt.Errorf("two requests are named %s", all[i].name)
		}
		names[all[i].name] = true
	}
	if only == "" {
		return all, nil
	}
	kept := slices.DeleteFunc(all, func(t trial) bool { return !glob(only, t.name) })
	if len(kept) == 0 {
		return nil, fmt.Errorf("no request's name matches %s", only)
	}
	return kept, nil
}

// families counts trials by the first two parts of their names.
func families(trials []trial) map[string]int {
	n := map[string]int{}
	for i := range trials {
		parts := strings.SplitN(trials[i].name, "/", 3)
		n[strings.Join(parts[:min(2, len(parts))], "/")]++
	}
	return n
}

// run starts one proxy in all subjects, plays all trials and returns what came of
// them.
func (t *town) run(ctx context.Context, c Config, turn playing, trials []trial) (_ []outcome, err error) {
	p := turn.proxy
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	o := startOptions{envoy: c.Envoy}
	if a, ok := alterations[turn.alter]; ok {
		o.alter = a.apply
	}
	say(c, "starting %s in %d pods", p, len(t.subjects))
	var g errgroup.Group
	for _, s := range t.subjects {
		g.Go(func() error { return s.start(ctx, p, o, &serving) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	defer func() {
		for _, s := range t.subjects {
			err = errors.Join(err, s.stop())
		}
	}()
	began := time.Now()
	scripts := map[string][]answer{}
	for i := range trials {
		scripts[number(i)], scripts[number(i)+"h"] = trials[i].answers, trials[i].besideAnswers
	}
	t.origin.begin(scripts)
	results, err := t.playAll(ctx, turn.firstPort, trials)
	for _, s := range t.subjects {
		if s.pod.SidecarPID() == 0 {
			err = errors.Join(err, fmt.Errorf("%s in %s has ended: %s", p, s.name, tail(s.pod.SidecarLog())))
		}
	}
	if err != nil {
		return nil, err
	}
	lines := t.logs(ctx)
	outcomes := make([]outcome, len(trials))
	for i, r := range results {
		o := r.parts
		attempts := t.origin.attempts(number(i))
		if strings.Contains(trials[i].name, "/mirror/") { // who comes first is a race
			slices.SortFunc(attempts, func(a, b attempt) int { return strings.Compare(a.pod, b.pod) })
		}
		o.upstream(attempts)
		if trials[i].streams != nil { // streams end side by side, and are logged as they end
			slices.Sort(lines[r.local])
		}
		o.logged(lines[r.local])
		o.tidy()
		outcomes[i] = o
	}
	say(c, "%s: %d requests in %v", p, len(trials), time.Since(began).Round(time.Second/10))
	return outcomes, nil
}

// firstPorts keep the two runs' connections apart, below the ports that the kernel
// gives.
var firstPorts = map[Proxy]int{Outrigger: 20000, Envoy: 24000}

// alteredPorts are those of the first of all alterations, of which each plays few.
const alteredPorts = 22000

func (t *town) playAll(ctx context.Context, firstPort int, trials []trial) ([]*played, error) {
	player := &player{pods: t.pods, ca: t.mesh.CA, foreign: t.foreign, firstPort: firstPort, turns: turns(trials)}
	results := make([]*played, len(trials))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range trials {
		g.Go(func() (err error) {
			results[i], err = player.play(ctx, &trials[i], number(i))
			return err
		})
	}
	return results, g.Wait()
}

// turns has a lock for each thing that trials want for themselves.
func turns(trials []trial) map[string]*sync.Mutex {
	all := map[string]*sync.Mutex{}
	for i := range trials {
		all[trials[i].alone] = &sync.Mutex{}
	}
	return all
}

// number is a trial's id.
func number(i int) string { return fmt.Sprintf("%04d", i) }

// logs waits until the access logs grow no more, and returns their lines by the
// client's address.
func (t *town) logs(ctx context.Context) map[string][]string {
	const step, still = 100 * time.Millisecond, 12
	tick := time.NewTicker(step)
	defer tick.Stop()
	size, same := int64(-1), 0
	for n := 0; n < 100 && same < still && ctx.Err() == nil; n++ {
		var now int64
		for _, s := range t.subjects {
			if fi, err := os.Stat(s.pod.File(accessLog)); err == nil {
				now += fi.Size()
			}
		}
		if now != size {
			size, same = now, 0
		}
		same++
		<-tick.C
	}
	out := map[string][]string{}
	for _, s := range t.subjects {
		text, err := os.ReadFile(s.pod.File(accessLog))
		if err != nil {
			continue // no request came
		}
		for line := range strings.Lines(string(text)) {
			addr, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			out[addr] = append(out[addr], rest)
		}
	}
	return out
}

// sameConfig returns how the configurations that the two got differ.
func (t *town) sameConfig() []string {
	var diffs []string
	for _, s := range t.subjects {
		for _, u := range []string{relay.ClusterType, relay.EndpointType, relay.ListenerType, relay.RouteType} {
			ours, theirs := s.relays[Outrigger].Digest(u), s.relays[Envoy].Digest(u)
			names := map[string]bool{}
			for n := range ours {
				names[n] = true
			}
			for n := range theirs {
				names[n] = true
			}
			for _, n := range slices.Sorted(maps.Keys(names)) {
				if ours[n] != theirs[n] {
					diffs = append(diffs, s.name+": "+u[strings.LastIndex(u, ".")+1:]+" "+n)
				}
			}
		}
	}
	return diffs
}

func say(c Config, format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}
