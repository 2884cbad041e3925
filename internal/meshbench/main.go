// Command meshbench is outrigger bench with a real istiod: the sidecars of its
// services cases are pods of a test mesh.
//
// Each size is a mesh of its own, brought up at first use: an unmodified istiod
// that read so many services, and two pods. One runs Outrigger as an injected
// container does; in the other, Envoy takes its place behind a relay. They are
// started anew for each round. All other cases are those of package bench.
//
// It must not know what is done with the figures.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/outrigger-mesh/outrigger/bench"
	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// backendCommand has a second process of this program be the backend, as in outrigger
// bench: one that shares the generator's has its limit of open files, too.
const backendCommand = "bench-echo"

func run(ctx context.Context, args []string) int {
	if len(args) == 1 && args[0] == backendCommand {
		if err := echo.Child(ctx, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	o := bench.Options{Build: describe(ctx), Out: os.Stdout, Progress: os.Stderr}
	if self, err := os.Executable(); err == nil {
		o.Backend = []string{self, backendCommand}
	}
	if err := testmesh.Missing(); err != nil {
		fmt.Fprintf(os.Stderr, "no test mesh, so the services cases have a made-up push: %v\n", err)
		return bench.MainWith(ctx, args, o)
	}
	w := &world{binaries: os.Getenv("OUTRIGGER_BIN_DIR"), envoy: os.Getenv("OUTRIGGER_ENVOY"), progress: os.Stderr, meshes: make(map[int]*town)}
	o.Mesh = w
	code := bench.MainWith(ctx, args, o)
	if err := w.close(); err != nil {
		w.say("%v", err)
		return max(code, 1)
	}
	return code
}

// describe names the commit that is measured.
func describe(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// close removes all meshes.
func (w *world) close() error {
	var errs []error
	for _, t := range w.meshes {
		errs = append(errs, t.close())
	}
	return errors.Join(errs...)
}
