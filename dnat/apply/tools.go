package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// toolset is one flavour of the iptables tools that has been seen to work, with what it found.
type toolset struct {
	choice  Choice
	environ []string
	tools   []*tool
}

// tool is the pair of commands of one family.
type tool struct {
	family  dnat.Family
	save    string
	restore string
	found   *ruleset // what save printed
}

// prefixes are the names the flavours are installed under.
var prefixes = map[Choice]string{IPTables: "", IPTablesLegacy: "legacy-", IPTablesNFT: "nft-"}

// chooseTools returns nil when the rules go by netlink. A missing binary is no error unless it was asked for.
func chooseTools(ctx context.Context, plan *dnat.Plan, o *Options) (*toolset, error) {
	if o.Choice == Native {
		return nil, nil
	}
	choice := o.Choice
	if choice == Auto {
		choice = IPTables
	}
	tools, err := findTools(ctx, choice, o)
	if err == nil {
		err = tools.look(ctx, plan)
	}
	switch {
	case err == nil:
		return tools, nil
	case o.Choice != Auto:
		return nil, err
	case !errors.Is(err, exec.ErrNotFound):
		o.Log.Warn("iptables is there but does not work, using nftables by netlink", "error", err)
	}
	return nil, nil
}

func findTools(ctx context.Context, choice Choice, o *Options) (*toolset, error) {
	s := &toolset{choice: choice, environ: toolEnviron(o)}
	for _, f := range []dnat.Family{dnat.IPv4, dnat.IPv6} {
		word := "iptables-"
		if f == dnat.IPv6 {
			word = "ip6tables-"
		}
		t := &tool{family: f}
		var err error
		if t.save, err = lookPath(o.Path, word+prefixes[choice]+"save"); err != nil {
			return nil, err
		}
		if t.restore, err = lookPath(o.Path, word+prefixes[choice]+"restore"); err != nil {
			return nil, err
		}
		s.tools = append(s.tools, t)
	}
	if choice == IPTables {
		s.choice = flavour(ctx, s.environ, s.tools[0].restore)
	}
	return s, nil
}

// flavour tells what the plain name is: by the program it links to where that says so, otherwise by asking it. The
// answer decides what counts as a leftover, so "unknown" stays IPTables and nothing of iptables is removed then.
func flavour(ctx context.Context, environ []string, path string) Choice {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return IPTables
	}
	switch filepath.Base(target) {
	case "xtables-nft-multi":
		return IPTablesNFT
	case "xtables-legacy-multi":
		return IPTablesLegacy
	}
	version, err := run(ctx, environ, nil, path, "--version")
	switch {
	case err == nil && strings.Contains(version, "nf_tables"):
		return IPTablesNFT
	case err == nil && strings.Contains(version, "legacy"):
		return IPTablesLegacy
	}
	return IPTables
}

func lookPath(path, name string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: %w: %w", name, ErrUnsupported, exec.ErrNotFound)
}

// toolEnviron moves the lock of iptables-legacy out of the way of a read-only root file system.
func toolEnviron(o *Options) []string {
	const lock = "/run/xtables.lock"
	environ := append([]string(nil), o.Environ...)
	f, err := os.OpenFile(lock, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return append(environ, "XTABLES_LOCKFILE=/dev/null")
	}
	_ = f.Close()
	return environ
}

// look reads the rules of both families: it is the probe of whether the tools work, and writes nothing. A kernel
// without IPv6 may fail for that family if the plan has no rules there.
func (s *toolset) look(ctx context.Context, plan *dnat.Plan) error {
	for _, t := range s.tools {
		text, err := run(ctx, s.environ, nil, t.save)
		if err != nil {
			if t.family == dnat.IPv6 && !plan.Has(dnat.IPv6) {
				t.found = &ruleset{}
				continue
			}
			return err
		}
		t.found = parseSave(text)
	}
	return nil
}

// apply swaps each family whose rules are not the plan's, in one restore each.
func (s *toolset) apply(ctx context.Context, plan *dnat.Plan, force bool) (bool, error) {
	changed := false
	for _, t := range s.tools {
		want := planned(plan, t.family)
		if t.found.equal(want, plan.Marker()) && (!force || len(want) == 0) {
			continue
		}
		input := t.found.swap(want, plan.Marker())
		if _, err := run(ctx, s.environ, []byte(input), t.restore, "--noflush", "--wait=5"); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// verify reads back and looks for the marker and the hooks in each table: a tool that succeeds without effect, or a
// clean-up that went too far, must not pass for a capture.
func (s *toolset) verify(ctx context.Context, plan *dnat.Plan) error {
	if err := s.look(ctx, plan); err != nil {
		return err
	}
	for _, t := range s.tools {
		for _, want := range planned(plan, t.family) {
			have := t.found.table(want.Name)
			if !slices.Contains(have.chains, plan.Marker()) || len(have.hooks()) != len(want.Hooks) {
				return fmt.Errorf("%s reported success, but the rules are not in table %s of %v", filepath.Base(t.restore), want.Name, t.family)
			}
		}
	}
	return nil
}

func planned(plan *dnat.Plan, family dnat.Family) []dnat.Table {
	for _, f := range plan.Families {
		if f.Family == family {
			return f.Tables
		}
	}
	return nil
}

// removeLegacy takes rules out of iptables-legacy that another run or Istio wrote there. The list of registered
// tables is read from /proc, because asking iptables-legacy for a table would register it.
func removeLegacy(ctx context.Context, o *Options) (bool, error) {
	if !legacyTables() {
		return false, nil
	}
	tools, err := findTools(ctx, IPTablesLegacy, o)
	if err != nil {
		o.Log.Warn("iptables-legacy tables exist in this namespace and cannot be read", "error", err)
		return false, nil
	}
	empty := &dnat.Plan{}
	if err := tools.look(ctx, empty); err != nil {
		return false, err
	}
	return tools.apply(ctx, empty, false)
}

func legacyTables() bool {
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		names, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err == nil && len(bytes.TrimSpace(names)) > 0 {
			return true
		}
	}
	return false
}

func run(ctx context.Context, environ []string, input []byte, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environ
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", explainTool(filepath.Base(name), err, stderr.String())
	}
	return stdout.String(), nil
}
