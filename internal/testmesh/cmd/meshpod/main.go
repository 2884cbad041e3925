// Command meshpod is the helper program of the test mesh: "run" becomes another
// program inside a pod, "echo" is the application of a pod.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/launch"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "meshpod:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: meshpod run|echo SPEC")
	}
	switch args[0] {
	case "run":
		spec, err := launch.Decode(args[1])
		if err != nil {
			return err
		}
		return launch.Exec(spec)
	case "echo":
		var c echo.Config
		if err := json.Unmarshal([]byte(args[1]), &c); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		return echo.Run(ctx, c)
	}
	return fmt.Errorf("unknown word %q", args[0])
}
