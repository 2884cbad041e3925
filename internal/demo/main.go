package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// Exit statuses.
const (
	exitOK       = 0
	exitFailed   = 1 // a step did not show what it should
	exitUnable   = 2 // no mesh can be made on this machine
	exitCanceled = 130
)

func main() { os.Exit(run()) }

func run() int {
	if err := testmesh.Missing(); err != nil {
		fmt.Fprintf(os.Stderr, "The demo makes network namespaces, which needs Linux and root: %v.\n"+
			"Try: sudo make demo (in a container: one that is privileged).\n", err)
		return exitUnable
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go endWithGo(ctx, cancel)

	// The Makefile builds with this flag; without it everything would be compiled
	// a second time.
	if err := os.Setenv("GOFLAGS", strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	err := show(ctx, newScreen(os.Stdout), options{
		keep:   os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0",
		binDir: os.Getenv(testmesh.BinEnv),
	})
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		return exitCanceled
	case errors.Is(err, errSteps): // and the summary says which
		return exitFailed
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	return exitFailed
}

// endWithGo calls cancel when the go command that runs us is gone: "go run" does
// not pass SIGTERM on.
func endWithGo(ctx context.Context, cancel context.CancelFunc) {
	parent := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return
	}
	for sleep(ctx, time.Second/2) {
		if os.Getppid() != parent {
			cancel()
		}
	}
}
