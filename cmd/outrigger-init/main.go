// Command outrigger-init writes the capture rules of a pod and ends. It takes the flags of istio-iptables.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/outrigger-mesh/outrigger/dnat/initcmd"
)

// version is set by the linker.
var version = "unknown"

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 2 && (os.Args[1] == "version" || os.Args[1] == "--version") {
		fmt.Fprintln(os.Stdout, version)
		return initcmd.ExitOK
	}
	return initcmd.Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
}
