package testmesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
)

// startLogged starts a program whose output is appended to a file.
func startLogged(s *launch.Starter, spec *launch.Spec, log string) (*launch.Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	p, err := s.Start(spec, out)
	return p, errors.Join(err, out.Close()) // the child has its own descriptor
}

// poll calls ok every few milliseconds until it succeeds. It gives up when ctx
// or the process p (which may be nil) ends.
func poll(ctx context.Context, p *launch.Process, ok func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var ended <-chan struct{}
	if p != nil {
		ended = p.Done()
	}
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("process ended: %w; before that: %w", p.Err(), err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// tailLines is how much of a log an error or a failed test shows.
const tailLines = 40

// tail returns the last lines of a file, or why it cannot.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return "--- " + path + "\n" + strings.Join(lines, "\n")
}
