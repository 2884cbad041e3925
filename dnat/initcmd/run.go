package initcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/dnat"
	"github.com/outrigger-mesh/outrigger/dnat/apply"
)

// Exit codes. They are stable: docs/capture.md lists them, and Istio's CNI repair acts on 126.
const (
	ExitOK          = 0
	ExitUsage       = 1   // flags, environment or their combination
	ExitFailed      = 2   // rules could not be written or removed
	ExitPermission  = 3   // for want of a capability
	ExitUnsupported = 4   // for want of a part of the kernel or the image
	ExitValidation  = 126 // --run-validation: the probe did not arrive
)

// Run is the command. args come without the program's name; a leading "istio-iptables" is skipped.
func Run(ctx context.Context, args []string, environ []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "istio-iptables" {
		args = args[1:]
	}
	v, err := parse(args, environ)
	if errors.Is(err, errHelp) {
		usage(stdout)
		return ExitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "%v\nRun with --help for the list of flags.\n", err)
		return ExitUsage
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := &command{values: v, environ: environ, log: newLog(v, stderr), stdout: stdout, start: time.Now()}
	code := ExitUsage
	if err := inNamespace(v.text("network-namespace"), func() { code = c.run(ctx) }); err != nil {
		c.log.Error("capture failed", "error", err)
		return exitCode(err)
	}
	return code
}

// command is one run.
type command struct {
	values  *values
	environ []string
	log     *slog.Logger
	stdout  io.Writer
	start   time.Time
}

func (c *command) run(ctx context.Context) int {
	if idle := c.values.idle(); len(idle) > 0 {
		c.log.Info("flags without effect", "flags", strings.Join(idle, ", "))
	}
	r := &reader{v: c.values}
	o := apply.Options{
		Choice: r.choice(), Path: c.values.environ["PATH"], Environ: c.environ,
		Force: c.values.flag("force-apply"), Log: c.log,
	}
	timeout := r.timeout()
	if err := errors.Join(r.problems...); err != nil {
		return c.fail(ExitUsage, err)
	}
	if c.values.flag("cleanup-only") {
		return c.cleanup(ctx, o)
	}
	config, err := configure(c.values, newSystem())
	if err != nil {
		return c.fail(ExitUsage, err)
	}
	plan, err := dnat.NewPlan(config)
	if err != nil {
		return c.fail(ExitUsage, err)
	}
	for _, w := range plan.Warnings {
		c.log.Warn(w)
	}
	if c.values.flag("dry-run") {
		return c.dryRun(plan, o.Choice)
	}
	if !c.values.flag("skip-rule-apply") {
		if code := c.apply(ctx, plan, o); code != ExitOK {
			return code
		}
	}
	if !c.values.flag("run-validation") {
		return ExitOK
	}
	return c.validate(ctx, &config, timeout)
}

func (c *command) apply(ctx context.Context, plan *dnat.Plan, o apply.Options) int {
	outcome, err := apply.Apply(ctx, plan, o)
	if err != nil {
		return c.fail(exitCode(err), err)
	}
	c.log.Info("capture applied", "backend", outcome.Backend, "changed", outcome.Changed,
		"digest", plan.Digest, "ipv6", plan.Has(dnat.IPv6), "ms", c.elapsed())
	c.log.Debug("rules", "ipv4", plan.RestoreText(dnat.IPv4), "ipv6", plan.RestoreText(dnat.IPv6))
	return ExitOK
}

func (c *command) cleanup(ctx context.Context, o apply.Options) int {
	if c.values.flag("dry-run") {
		fmt.Fprintln(c.stdout, "# removes the chains and tables of Outrigger and of Istio's capture, and ::6/128 from lo")
		return ExitOK
	}
	outcome, err := apply.Cleanup(ctx, o)
	if err != nil {
		return c.fail(exitCode(err), err)
	}
	c.log.Info("capture removed", "backend", outcome.Backend, "changed", outcome.Changed, "ms", c.elapsed())
	return ExitOK
}

// dryRun prints what a namespace without rules would get.
func (c *command) dryRun(plan *dnat.Plan, choice apply.Choice) int {
	var b strings.Builder
	fmt.Fprintf(&b, "# plan %s\n", plan.Digest)
	if choice == apply.Native {
		b.WriteString(plan.NFTText())
	} else {
		fmt.Fprintf(&b, "# IPv4, for iptables-restore --noflush\n%s", plan.RestoreText(dnat.IPv4))
		fmt.Fprintf(&b, "# IPv6, for ip6tables-restore --noflush\n%s", plan.RestoreText(dnat.IPv6))
	}
	if _, err := io.WriteString(c.stdout, b.String()); err != nil {
		return c.fail(ExitFailed, fmt.Errorf("print plan: %w", err))
	}
	if file := c.values.environ[envDryRunFile]; file != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			return c.fail(ExitFailed, fmt.Errorf("%s: %w", envDryRunFile, err))
		}
	}
	return ExitOK
}

func (c *command) validate(ctx context.Context, config *dnat.Config, timeout time.Duration) int {
	addrs, err := podAddresses()
	if err != nil {
		return c.fail(ExitValidation, err)
	}
	port, err := parsePort(c.values.text("iptables-probe-port"))
	if err != nil {
		return c.fail(ExitUsage, fmt.Errorf("--iptables-probe-port: %w", err))
	}
	p := &probe{ports: config.Ports, target: port, uid: config.Proxy.UIDs, log: c.log}
	bothMeant := c.values.flag("dual-stack") || !c.values.flag("skip-rule-apply") && config.IPv6
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, family := range probeFamilies(addrs, bothMeant) {
		if err := p.run(ctx, family); err != nil {
			return c.fail(ExitValidation, fmt.Errorf("validate %v: %w", family, err))
		}
	}
	c.log.Info("capture validated", "ms", c.elapsed())
	return ExitOK
}

func (c *command) elapsed() float64 {
	return float64(time.Since(c.start).Microseconds()) / 1000
}

func (c *command) fail(code int, err error) int {
	c.log.Error("capture failed", "error", err, "exit", code)
	return code
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, apply.ErrPermission), errors.Is(err, os.ErrPermission):
		return ExitPermission
	case errors.Is(err, apply.ErrUnsupported):
		return ExitUnsupported
	default:
		return ExitFailed
	}
}

func newLog(v *values, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{}
	if strings.Contains(v.text("log_output_level"), "debug") {
		o.Level = slog.LevelDebug
	}
	var h slog.Handler = slog.NewTextHandler(w, o)
	if v.flag("log_as_json") {
		h = slog.NewJSONHandler(w, o)
	}
	return slog.New(h).With("component", "capture")
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: outrigger-init [flags]    (also: outrigger istio-iptables [flags])")
	fmt.Fprintln(w)
	fmt.Fprintln(w, "Writes the rules that capture the traffic of this network namespace, at once; --dry-run prints them instead, and")
	fmt.Fprintln(w, "--cleanup-only takes them away. Every flag but -p and the logging flags can be set by the environment: its name in capitals with _.")
	for _, o := range options {
		short := "    "
		if o.short != 0 {
			short = "-" + string(o.short) + ", "
		}
		preset := ""
		if o.preset != "" {
			preset = " (default " + o.preset + ")"
		}
		fmt.Fprintf(w, "  %s--%-36s %s%s\n", short, o.name, o.usage, preset)
	}
	fmt.Fprintf(w, "Environment only: %s, %s, %s, %s, %s, %s (auto, true, false).\n",
		envLoopback, envGroups, envExcludeGroups, envUser, envDryRunFile, envIPv6)
	fmt.Fprintln(w, "Exit codes: 0 ok, 1 usage, 2 rules not written, 3 not permitted, 4 not supported, 126 validation failed.")
}
