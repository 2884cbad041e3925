// Command twin compares Outrigger with a real Envoy under the same istiod.
//
// It prints every difference, and fails if one is not explained by
// docs/differences.md or if an entry there explains nothing any more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/outrigger-mesh/outrigger/internal/twin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "twin:", err)
		os.Exit(1)
	}
}

var errDiffers = errors.New("the two differ, see above")

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	f := flag.NewFlagSet("twin", flag.ContinueOnError)
	f.SetOutput(progress)
	c := twin.Config{Progress: func(line string) { fmt.Fprintln(progress, line) }}
	f.StringVar(&c.Envoy, "envoy", "", "path of a real Envoy")
	f.StringVar(&c.BinDir, "bin", "", "folder of Outrigger's binaries (empty: they are built)")
	f.StringVar(&c.Only, "only", "", "play only the requests whose name matches, * stands for any text")
	list := f.String("list", "docs/differences.md", "the explained differences")
	record := f.String("record", "internal/twin/testdata/differences.tsv", "what exactly they are")
	update := f.Bool("update", false, "write the record anew, from this run")
	f.StringVar(&c.Alter, "alter", "", "alters one route of what Outrigger gets, so that the run has to fail; "+twin.AlterAll+" tries each of: "+strings.Join(twin.Alterations(), ", "))
	all := f.Bool("all", false, "print explained differences too")
	if err := f.Parse(args); err != nil {
		return err
	}
	if c.Envoy == "" {
		return errors.New("-envoy is needed")
	}
	var err error
	if c.Listed, err = twin.ReadList(*list); err != nil {
		return err
	}
	if !*update {
		if c.Recorded, err = twin.ReadRecord(*record); err != nil {
			return err
		}
	}
	report, err := twin.Run(ctx, c)
	if err != nil {
		return err
	}
	report.Write(out, *all)
	switch {
	case *update:
		return report.WriteRecord(*record)
	case c.Alter == "", c.Alter == twin.AlterAll:
	case len(report.Open) == 0:
		return fmt.Errorf("altered %s, and no request has met it", c.Alter)
	default:
		return fmt.Errorf("altered %s, as asked for: requests differ, see above", c.Alter)
	}
	if report.Failed() {
		return errDiffers
	}
	return nil
}
