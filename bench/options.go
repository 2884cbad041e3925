package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/bench/report"
)

// Options are what a run measures, with what, and where it tells.
type Options struct {
	// Cases and Subjects that are wanted; empty stands for all.
	Cases, Subjects []string
	// Rounds of each case; zero stands for 5, or 3 in a quick run.
	Rounds int
	// Quick takes less work per round.
	Quick bool
	// Scale multiplies the work of each round; zero stands for 1.
	Scale float64

	Programs Programs
	// Build is the version of the product.
	Build string
	// Profiles, if set, is a folder for CPU profiles of the product.
	Profiles string
	// Backend, if set, is a command that calls echo.Child: a process of its own does not
	// take turns with the generator. Else the backend is part of this process.
	Backend []string
	// Mesh, if set, is where sidecars of the services cases come from.
	Mesh Mesh

	// JSON and HTML are files for results; empty writes none.
	JSON, HTML string
	// Check fails the run where a figure misses what it must be.
	Check bool
	// From reads results from a file instead of measuring.
	From string

	Out, Progress io.Writer
}

// Programs are the paths of the proxies; an empty one is not there.
type Programs struct{ Outrigger, Envoy, HAProxy, Nginx string }

const usage = `usage: outrigger bench [flags]

Measures what this sidecar costs beside Envoy, HAProxy and nginx, as far as they
are installed, with nothing but loopback. Subjects take turns within a round;
figures are medians over the rounds.

flags:
`

// Main is the command line of the benchmark; it returns the exit code.
func Main(ctx context.Context, args []string, build string, stdout, stderr io.Writer) int {
	return MainWith(ctx, args, Options{Build: build, Out: stdout, Progress: stderr})
}

// MainWith is Main with options that have no flag.
func MainWith(ctx context.Context, args []string, o Options) int {
	listed, err := o.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(o.Progress, "outrigger bench: %v\nRun it with --help for the list of flags.\n", err)
		return 2
	case listed:
		return 0
	}
	if err := Run(ctx, o); err != nil {
		fmt.Fprintln(o.Progress, "outrigger bench:", err)
		return 1
	}
	return 0
}

func (o *Options) parse(args []string) (listed bool, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard) // parse errors are returned
	f.Usage = func() {}
	var cases, subjects string
	var list bool
	p := &o.Programs
	f.StringVar(&cases, "case", "", "only these cases, separated by commas; a name that ends in * stands for all that begin so")
	f.StringVar(&subjects, "subjects", "", "only these of direct, outrigger, envoy, haproxy, nginx")
	f.IntVar(&o.Rounds, "rounds", 0, "rounds of each case (default 5, with -quick 3)")
	f.BoolVar(&o.Quick, "quick", false, "less work per round; within a quarter of an hour on two processors")
	f.Float64Var(&o.Scale, "scale", 1, "multiply the work of each round")
	f.StringVar(&o.JSON, "json", "", "write the results to this file")
	f.StringVar(&o.HTML, "html", "outrigger-bench.html", "write a page with the results to this file (empty: none)")
	f.BoolVar(&o.Check, "check", false, "compare with the limits of the project, and fail where one is missed")
	f.StringVar(&o.From, "from", "", "show (and check) the results in this file, and measure nothing")
	f.StringVar(&o.Profiles, "cpuprofile", "", "write CPU profiles of outrigger into this folder")
	f.StringVar(&p.Outrigger, "outrigger", "", "the outrigger to measure (default: this program)")
	f.StringVar(&p.Envoy, "envoy", os.Getenv("OUTRIGGER_ENVOY"), "Envoy to compare with (default: OUTRIGGER_ENVOY, or the one in PATH)")
	f.StringVar(&p.HAProxy, "haproxy", "", "HAProxy to compare with (default: the one in PATH)")
	f.StringVar(&p.Nginx, "nginx", "", "nginx to compare with (default: the one in PATH)")
	f.BoolVar(&list, "list", false, "list the cases")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(o.Out, usage)
			f.SetOutput(o.Out)
			f.PrintDefaults()
		}
		return false, err
	}
	if f.NArg() > 0 {
		return false, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.Cases, o.Subjects = words(cases), words(subjects)
	if list {
		for _, c := range table() {
			fmt.Fprintf(o.Out, "%-18s %s\n", c.name, c.about)
		}
		return true, nil
	}
	return false, o.complete()
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// complete checks the options and fills in what was left open.
func (o *Options) complete() error {
	for _, s := range o.Subjects {
		if !slices.Contains(subjects, s) {
			return fmt.Errorf("no subject %q: there are %s", s, strings.Join(subjects, ", "))
		}
	}
	for _, c := range o.Cases {
		if !slices.ContainsFunc(table(), func(have *benchCase) bool { return matches(c, have.name) }) {
			return fmt.Errorf("no case %q: see -list", c)
		}
	}
	if o.Rounds < 0 || o.Scale < 0 {
		return errors.New("rounds and scale cannot be negative")
	}
	if o.Rounds == 0 {
		o.Rounds = 5
		if o.Quick {
			o.Rounds = 3
		}
	}
	if o.Scale == 0 {
		o.Scale = 1
	}
	return o.Programs.find()
}

var subjects = []string{report.Direct, report.Outrigger, report.Envoy, report.HAProxy, report.Nginx}

// find looks for the programs that were not named.
func (p *Programs) find() error {
	if p.Outrigger == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("own path: %w", err)
		}
		p.Outrigger = self
	}
	var err error
	if p.Outrigger, err = filepath.Abs(p.Outrigger); err != nil { // each proxy runs in a folder of its own
		return fmt.Errorf("outrigger: %w", err)
	}
	for _, one := range []struct {
		path *string
		name string
	}{{&p.Envoy, "envoy"}, {&p.HAProxy, "haproxy"}, {&p.Nginx, "nginx"}} {
		if *one.path == "none" {
			*one.path = ""
			continue
		}
		named := *one.path
		if named == "" {
			named = one.name
		}
		found, err := exec.LookPath(named)
		if err != nil && *one.path != "" {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		if found != "" {
			if found, err = filepath.Abs(found); err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
		}
		*one.path = found
	}
	return nil
}

// matches reports whether a name is meant by a word of -case.
func matches(word, name string) bool {
	if head, ok := strings.CutSuffix(word, "*"); ok {
		return strings.HasPrefix(name, head)
	}
	return word == name
}

func wanted(words []string, name string) bool {
	return len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return matches(w, name) })
}
