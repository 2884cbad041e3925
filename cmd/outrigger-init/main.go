// Command outrigger-init writes the capture rules of a pod and ends. It takes the flags of istio-iptables.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/outrigger-mesh/outrigger/dnat/initcmd"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return initcmd.Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
}
