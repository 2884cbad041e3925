package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// options say how the demo is run.
type options struct {
	keep   bool   // leave everything up after the steps until ctx ends
	binDir string // folder of the product's binaries; empty: built
}

// step is one thing to see.
type step struct {
	name  string
	about []string // what will happen and what to look at
	run   func(context.Context, *demo) (shown string, err error)
}

// steps are run in this order.
var steps = []step{
	splitStep, identityStep, intruderStep, editStep, killStep, tcpStep, latencyStep, restartStep,
}

// result is what became of a step.
type result struct {
	step  *step
	shown string
	err   error
	took  time.Duration
}

// show brings the mesh up, runs all steps and takes everything down again. It
// returns an error that names the steps that failed.
func show(ctx context.Context, s *screen, o options) error {
	s.print(
		s.paint(bold, "Outrigger")+": an unmodified istiod drives the sidecars of a small shop,",
		"each pod a network namespace of this machine.",
		"",
		"      web ──▶ reviews v1, v2, v3 ──▶ ratings (2 pods)       db (plain TCP)",
		"",
	)
	d, err := bringUp(ctx, s, o)
	if err != nil {
		return interrupted(ctx, err)
	}
	results := d.runSteps(ctx)
	err = summary(s, results)
	if o.keep && ctx.Err() == nil {
		d.printHints()
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		s.print("", "Removing everything.")
	}
	if down := d.takeDown(); down != nil {
		return errors.Join(down, err)
	}
	if !o.keep {
		err = interrupted(ctx, err)
	}
	return err
}

// interrupted puts the end of ctx in place of what followed from it.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (d *demo) runSteps(ctx context.Context) []result {
	s := d.screen
	var results []result
	for i := range steps {
		if ctx.Err() != nil {
			break
		}
		st := &steps[i]
		s.print(s.paint(bold, fmt.Sprintf("[%d/%d] %s", i+1, len(steps), st.name)))
		for _, line := range st.about {
			s.print(indent + s.paint(dim, line))
		}
		began := time.Now()
		shown, err := st.run(ctx, d)
		if ctx.Err() != nil {
			break // whatever went wrong, this is why
		}
		r := result{step: st, shown: shown, err: err, took: time.Since(began)}
		results = append(results, r)
		if err != nil {
			s.print(indent + s.paint(red, "FAILED: ") + err.Error())
			d.printLogs()
		} else {
			s.print(indent + s.paint(green, "ok: ") + shown)
		}
		s.print("")
	}
	return results
}

// errSteps is what show returns for steps that did not show what they should.
var errSteps = errors.New("step failed")

// summary prints a line for each step and returns an error for those that failed.
func summary(s *screen, results []result) error {
	t := table{heads: []string{">", "step", "", ">took", "shown"}}
	var failed []error
	var total time.Duration
	for i, r := range results {
		mark, shown := s.paint(green, "ok"), r.shown
		if r.err != nil {
			mark, shown = s.paint(red, "FAILED"), cut(firstLine(r.err.Error()), 70)
			failed = append(failed, fmt.Errorf("%w: %d, %s: %w", errSteps, i+1, r.step.name, r.err))
		}
		total += r.took
		t.add(strconv.Itoa(i+1), r.step.name, mark, span(r.took), shown)
	}
	if len(results) == 0 {
		return nil
	}
	s.print(s.paint(bold, "Summary"))
	s.show(&t)
	switch {
	case len(results) < len(steps):
		s.print(indent+fmt.Sprintf("interrupted after %d of %d steps, %d failed", len(results), len(steps), len(failed)), "")
	case len(failed) > 0:
		s.print(indent+fmt.Sprintf("%d of %d steps failed", len(failed), len(steps)), "")
	default:
		s.print(indent+fmt.Sprintf("all %d steps showed what they should, in %s", len(steps), span(total)), "")
	}
	return errors.Join(failed...)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// printLogs prints the ends of the logs that a failure may be explained by.
func (d *demo) printLogs() {
	const most = 5
	for _, p := range d.meshed {
		var lines []string
		for line := range strings.Lines(p.SidecarLog()) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if len(lines) == 0 {
			continue
		}
		d.screen.printf("%sthe sidecar of %s warned last:", indent, p.Name())
		for _, line := range lines[max(0, len(lines)-most):] {
			d.screen.print(indent + "  " + d.screen.paint(dim, line))
		}
	}
}

// takeDownWait bounds the end of all processes and namespaces.
const takeDownWait = 30 * time.Second

// takeDown removes everything, or says what is left.
func (d *demo) takeDown() error {
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- d.mesh.Close() }()
	timer := time.NewTimer(takeDownWait)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("take down: %w", err)
		}
		d.screen.printf("Removed all processes, namespaces and files in %s.", span(time.Since(began)))
		return nil
	case <-timer.C:
		return fmt.Errorf("not everything is removed after %v; the next run or \"ip netns\" shows and removes outrigger-%d-*", takeDownWait, os.Getpid())
	}
}

// plainPod makes a pod without sidecar.
func (d *demo) plainPod(ctx context.Context, name string, opts ...testmesh.PodOption) (*testmesh.Pod, error) {
	return d.mesh.AddPod(ctx, name, append(opts, testmesh.WithoutSidecar())...)
}
