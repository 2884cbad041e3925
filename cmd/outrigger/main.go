// Command outrigger is the sidecar. A link to it named pilot-agent is a drop-in
// for the program of that name. Builds use the profile default.pgo: see make pgo.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/outrigger-mesh/outrigger/bench"
	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/config"
	"github.com/outrigger-mesh/outrigger/dnat/initcmd"
	"github.com/outrigger-mesh/outrigger/sidecar"
)

// version is set by the linker.
var version = "unknown"

const usage = `usage: outrigger COMMAND

  proxy sidecar [flags]    run the sidecar
  istio-iptables [flags]   install the capture rules
  bench [flags]            measure what the sidecar costs on this machine
  version                  print the version

Each command but version tells its flags with --help.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "proxy":
		return proxy(ctx, args[1:], stdout, stderr)
	case "istio-iptables":
		return initcmd.Run(ctx, args[1:], os.Environ(), stdout, stderr)
	case "bench":
		return benchmark(ctx, args[1:], stdout, stderr)
	case backendCommand:
		if err := echo.Child(ctx, os.Stdin, stdout); err != nil {
			fmt.Fprintln(stderr, "outrigger bench: backend:", err)
			return 1
		}
		return 0
	case "version", "--version":
		fmt.Fprintln(stdout, version)
		return 0
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	default:
		fmt.Fprintf(stderr, "outrigger: unknown command %q\n\n%s", args[0], usage)
		return 2
	}
}

// backendCommand is what the benchmark calls for its backend. It is not for people.
const backendCommand = "bench-echo"

func benchmark(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := bench.Options{Build: version, Out: stdout, Progress: stderr}
	if self, err := os.Executable(); err == nil {
		o.Backend = []string{self, backendCommand}
	}
	return bench.MainWith(ctx, args, o)
}

func proxy(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := config.Load(config.Source{
		Args: args, Environ: os.Environ(), ReadFile: os.ReadFile, Hostname: os.Hostname, Interfaces: interfaces,
		Exists: func(name string) bool { _, err := os.Stat(name); return err == nil },
	})
	if errors.Is(err, config.ErrHelp) {
		fmt.Fprint(stdout, config.Usage)
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "outrigger: the configuration is not usable:", err)
		return 1
	}
	err = sidecar.Run(ctx, cfg, sidecar.Options{Version: version, Log: stderr})
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "outrigger:", err)
		return 1
	}
	return 0
}

// interfaces lists the machine's own addresses.
func interfaces() ([]netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out, nil
}
