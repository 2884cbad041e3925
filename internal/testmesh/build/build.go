// Package build compiles the programs a test mesh runs, once, into the user's
// cache: a real istiod from its own Go module, other people's tools in the same
// way, and our own binaries.
//
// Istiod and Tools return at once if the binaries of this recipe (module file,
// tags, Go version) are there; otherwise they compile, telling how far they are,
// under a lock that other processes wait for. Programs asks the go command each
// time, which is quick when nothing changed.
//
// It knows how to compile, not what the programs do.
package build

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Module is the Go module this package belongs to.
const Module = "github.com/outrigger-mesh/outrigger"

const (
	istiodPackage = "istio.io/istio/pilot/cmd/pilot-discovery"
	istiodTags    = "vtprotobuf,disable_pgv" // those of Istio's own releases
	istiodVersion = "1.31.1"
)

// istiodFlags stamp the version; without them istiod calls itself unknown.
const istiodFlags = "-s -w" +
	" -X istio.io/istio/pkg/version.buildVersion=" + istiodVersion +
	" -X istio.io/istio/pkg/version.buildTag=" + istiodVersion +
	" -X istio.io/istio/pkg/version.buildHub=outrigger.invalid/istio" +
	" -X istio.io/istio/pkg/version.buildStatus=Clean"

// ErrNoModule is returned when the source of this module cannot be found.
var ErrNoModule = errors.New("source of " + Module + " not found; run inside it")

// Builder compiles from the module's source.
type Builder struct {
	Source   string       // root of the module; empty: found from the working directory
	Progress func(string) // receives lines such as "building istiod: 312 of ~1900 packages"; may be nil
	Log      io.Writer    // output of the go command; may be nil
}

// Istiod returns the path of a pilot-discovery, compiled first if need be.
func (b Builder) Istiod(ctx context.Context) (string, error) {
	source, err := b.source()
	if err != nil {
		return "", err
	}
	module := filepath.Join(source, "internal", "testmesh", "istiod")
	dir, err := cacheDir("istiod", module, istiodTags, istiodFlags)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "pilot-discovery")
	if runnable(binary) {
		return binary, nil
	}
	unlock, err := b.lock(ctx, dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if runnable(binary) { // another process built it while we waited
		return binary, nil
	}
	args := []string{"-trimpath", "-tags=" + istiodTags, "-ldflags=" + istiodFlags}
	g := gocmd{dir: module, log: b.Log, env: []string{"GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0"}}
	b.say("building istiod (first time, takes about 5 minutes): fetching its modules")
	total, err := g.packages(ctx, istiodPackage, "-tags="+istiodTags)
	if err != nil {
		return "", fmt.Errorf("list packages of istiod: %w", err)
	}
	tmp := binary + ".tmp"
	args = append([]string{"build", "-v", "-o", tmp}, append(args, istiodPackage)...)
	if err := g.build(ctx, args, b.counter(total)); err != nil {
		return "", fmt.Errorf("build istiod: %w", err)
	}
	b.say("building istiod: done")
	return binary, os.Rename(tmp, binary)
}

// Programs compiles packages of our own module (paths below its root) into one
// folder and returns it.
func (b Builder) Programs(ctx context.Context, packages ...string) (string, error) {
	source, err := b.source()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(source)) // checkouts must not overwrite each other's
	dir := filepath.Join(cache, "outrigger", "bin", hex.EncodeToString(key[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := b.lock(ctx, dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	args := []string{"build", "-tags=grpcnotrace", "-o", dir + "/"} // as the Makefile does
	for _, p := range packages {
		args = append(args, "./"+p)
	}
	g := gocmd{dir: source, log: b.Log, env: []string{"CGO_ENABLED=0"}}
	if err := g.build(ctx, args, func(string) {}); err != nil {
		return "", fmt.Errorf("build %s: %w", strings.Join(packages, ", "), err)
	}
	return dir, nil
}

func (b Builder) say(line string) {
	if b.Progress != nil {
		b.Progress(line)
	}
}

// counter returns a func that counts the packages the go command names and
// tells the progress a few times a second.
func (b Builder) counter(total int) func(string) {
	var n int
	var last time.Time
	return func(line string) {
		if strings.Contains(line, " ") {
			return // not a package path
		}
		n++
		if now := time.Now(); now.Sub(last) > 300*time.Millisecond {
			last = now
			b.say(fmt.Sprintf("building istiod (first time, takes about 5 minutes): %d of ~%d packages", n, total))
		}
	}
}

// lock waits for the exclusive use of dir.
func (b Builder) lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for waited := false; ; waited = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // the lock goes with the descriptor
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		if !waited {
			b.say("waiting for another process that is building into " + dir)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}

func (b Builder) source() (string, error) {
	if b.Source != "" {
		return b.Source, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module "+Module+"\n")) {
			return dir, nil
		}
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) { // unless built with -trimpath
		dir := filepath.Join(filepath.Dir(file), "..", "..", "..")
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", ErrNoModule
}

// cacheDir returns the folder for binaries made by this recipe: a module file
// and whatever else decides about the outcome.
func cacheDir(kind, module string, recipe ...string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		h.Write(text)
	}
	fmt.Fprintln(h, strings.Join(append(recipe, runtime.Version(), runtime.GOARCH), " "))
	dir := filepath.Join(cache, "outrigger", kind, hex.EncodeToString(h.Sum(nil)[:8]))
	return dir, os.MkdirAll(dir, 0o755)
}

func runnable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode()&0o111 != 0 && !fi.IsDir()
}

// gocmd runs the go command in a folder.
type gocmd struct {
	dir string
	log io.Writer
	env []string
}

func (g gocmd) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), g.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends its compilers too
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// packages counts what a package depends on, itself included.
func (g gocmd) packages(ctx context.Context, pkg string, args ...string) (int, error) {
	cmd := g.command(ctx, append(append([]string{"list", "-deps"}, args...), pkg)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return bytes.Count(out, []byte("\n")), nil
}

// build runs the go command and hands each line of its output to line; the last
// lines are part of the error.
func (g gocmd) build(ctx context.Context, args []string, line func(string)) error {
	cmd := g.command(ctx, args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var tail []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text := lines.Text()
		line(text)
		if g.log != nil {
			fmt.Fprintln(g.log, text)
		}
		if tail = append(tail, text); len(tail) > 20 {
			tail = tail[1:]
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(tail, "\n"))
	}
	return nil
}
