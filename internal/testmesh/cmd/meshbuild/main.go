// Command meshbuild compiles the istiod that the mesh tests run and prints its
// path, so that a first build is not part of a test's time.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "meshbuild:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := build.Builder{Progress: func(line string) { fmt.Fprintln(os.Stderr, line) }}
	path, err := b.Istiod(ctx)
	if err == nil {
		_, err = fmt.Println(path)
	}
	return err
}
