// Command measure measures the sidecar beside its budget: CPU per request of one
// hop beside HAProxy, the time to ready, and resident memory after a real push.
//
// Each measurement brings up a test mesh, starts the real binary in a pod as an
// injected container is started, reads what the kernel accounted to the process
// and prints a table with the median, the least and the most of all rounds. What
// is compared runs in one go, turn by turn, so that a noisy machine troubles all
// alike. It fails if it could not measure, not if a figure misses its target.
//
// It must not know how the product works inside: it sees ports, log lines of
// istiod, and /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

const usage = `usage: measure [flags] [hop|start|memory|all]

  hop      CPU per request of a plain HTTP/1.1 hop beside HAProxy, and of mutual TLS
  start    from the first configuration to readiness
  memory   resident memory after a push of many services
  all      everything (the default)

flags:
`

// bench is a run of the program: what to measure with, and where to tell.
type bench struct {
	// immutable
	quick    bool
	huge     bool
	binaries string
	out      io.Writer
	progress io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	b := &bench{out: stdout, progress: stderr}
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.BoolVar(&b.quick, "quick", false, "few and short rounds, to see that it works")
	flags.BoolVar(&b.huge, "huge", false, "memory: 10,000 services too (istiod needs minutes and gigabytes)")
	flags.StringVar(&b.binaries, "bin", os.Getenv(testmesh.BinEnv), "folder with outrigger and outrigger-init (default: built from source)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	what := "all"
	if flags.NArg() > 0 {
		what = flags.Arg(0)
	}
	all := []string{"hop", "start", "memory"}
	if flags.NArg() > 1 || (what != "all" && !slices.Contains(all, what)) {
		flags.Usage()
		return fmt.Errorf("unknown measurement %q", strings.Join(flags.Args(), " "))
	}
	if err := testmesh.Missing(); err != nil {
		return err
	}
	fmt.Fprintln(b.out, machine())
	steps := map[string]func(context.Context) error{"hop": b.hop, "start": b.start, "memory": b.memory}
	var errs []error
	for _, name := range all {
		if what == "all" || what == name {
			before := busy()
			if err := steps[name](ctx); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
			fmt.Fprintf(b.out, "  load of the machine over a minute: %s before, %s after\n", before, busy())
		}
	}
	return errors.Join(errs...)
}

// mesh brings up a mesh with a folder of one file.
func (b *bench) mesh(ctx context.Context, text string) (*testmesh.Mesh, error) {
	return testmesh.Up(ctx, testmesh.Config{
		FS: oneFile(text), BinDir: b.binaries,
		Progress: func(line string) { b.say("%s", line) },
	})
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// pick returns the first of two values in a full run, the second in a quick one.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

// machine describes where the figures come from.
func machine() string {
	cpu := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cpu = field(string(text), "model name")
	}
	kernel := "?"
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(text))
	}
	return fmt.Sprintf("machine: %d x %s, Linux %s, %s, %s", runtime.NumCPU(), cpu, kernel, runtime.Version(), time.Now().UTC().Format("2006-01-02"))
}

// busy tells how busy the machine was lately, which says how far to trust a table.
func busy() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
