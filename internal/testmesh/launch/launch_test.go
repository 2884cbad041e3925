package launch_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
)

func newStarter(t *testing.T) *launch.Starter {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("changing the uid needs root")
	}
	dir, err := build.Builder{}.Programs(t.Context(), "internal/testmesh/cmd/meshpod")
	if err != nil {
		t.Fatal(err)
	}
	s := launch.NewStarter(filepath.Join(dir, "meshpod"))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestRunReturnsOutputAndError(t *testing.T) {
	s := newStarter(t)
	var out, errOut bytes.Buffer
	spec := &launch.Spec{UID: 12, GID: 34, Dir: "/", Argv: []string{"/bin/sh", "-c", "pwd; id -u; id -g; echo $A; echo no >&2; exit 3"}, Env: []string{"A=b"}}
	err := s.Run(t.Context(), spec, &out, &errOut)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want exit status 3", err)
	}
	if got, want := out.String(), "/\n12\n34\nb\n"; got != want || errOut.String() != "no\n" {
		t.Errorf("got %q and %q, want %q", got, errOut.String(), want)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	s := newStarter(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Run(ctx, &launch.Spec{Argv: []string{"/bin/sleep", "60"}}, nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
}

func TestCloseKillsWhatRuns(t *testing.T) {
	s := newStarter(t)
	p, err := s.Start(&launch.Spec{Argv: []string{"/bin/sleep", "60"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if p.Running() || p.Err() == nil {
		t.Errorf("process %d survived: %v", p.PID(), p.Err())
	}
	if _, err := s.Start(&launch.Spec{Argv: []string{"/bin/true"}}, nil); !errors.Is(err, launch.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestStopKillsAfterTheGrace(t *testing.T) {
	s := newStarter(t)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := s.Start(&launch.Spec{Argv: []string{"/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"}, Env: []string{"PATH=/bin:/usr/bin"}}, out)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if text, err := os.ReadFile(out.Name()); err == nil && len(text) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the program does not start")
		}
	}
	if err := p.Stop(syscall.SIGTERM, 100*time.Millisecond); err == nil || p.Running() {
		t.Errorf("got %v, running %v, want a complaint and an end", err, p.Running())
	}
}

func TestSpecWithoutProgramIsRefused(t *testing.T) {
	if _, err := launch.Decode(`{}`); err == nil {
		t.Error("an empty spec is taken")
	}
	if _, err := launch.Decode(`{`); err == nil {
		t.Error("half a spec is taken")
	}
}
