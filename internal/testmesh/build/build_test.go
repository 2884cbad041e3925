package build_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

func TestProgramsAreBuiltIntoTheCache(t *testing.T) {
	source, cache := module(t)
	write(t, source, "cmd/hello/main.go", "package main\n\nfunc main() { print(\"hello\") }\n")
	b := build.Builder{Source: source}
	dir, err := b.Programs(t.Context(), "cmd/hello")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(dir, cache) {
		t.Errorf("got %s, want a folder below %s", dir, cache)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "hello")).CombinedOutput(); string(out) != "hello" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	write(t, source, "cmd/bad/main.go", "package main\n\nfunc main() { nonsense }\n")
	if _, err := b.Programs(t.Context(), "cmd/bad"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v, want the compiler's words", err)
	}
}

func TestToolsAreBuiltOncePerRecipe(t *testing.T) {
	source, cache := module(t)
	write(t, source, "tools/hello/go.mod", "module example.test/hello\n\ngo 1.26\n")
	write(t, source, "tools/hello/go.sum", "")
	write(t, source, "tools/hello/main.go", "package main\n\nfunc main() { print(\"hello\") }\n")
	b := build.Builder{Source: source}
	tool := build.Tool{Name: "greeter", Module: "tools/hello", Package: "."}
	dir, err := b.Tools(t.Context(), tool)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(dir, cache) {
		t.Errorf("got %s, want a folder below %s", dir, cache)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "greeter")).CombinedOutput(); string(out) != "hello" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	b.Progress = func(line string) { t.Errorf("built again: %s", line) }
	if again, err := b.Tools(t.Context(), tool); again != dir || err != nil {
		t.Errorf("got %s, %v, want %s", again, err, dir)
	}
	b.Progress = nil
	write(t, source, "tools/hello/main.go", "package main\n\nfunc main() { print(\"hallo\") }\n")
	if again, err := b.Tools(t.Context(), tool); again == dir || err != nil {
		t.Errorf("after a change got %s, %v, want another folder", again, err)
	}
}

func TestWaitForAnotherBuilderEndsWithTheContext(t *testing.T) {
	source, _ := module(t)
	write(t, source, "cmd/slow/main.go", "package main\n\nfunc main() {}\n")
	b := build.Builder{Source: source}
	dir, err := b.Programs(t.Context(), "cmd/slow")
	if err != nil {
		t.Fatal(err)
	}
	holder, err := os.Open(filepath.Join(dir, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := syscall.Flock(int(holder.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	waits := make(chan string, 10)
	b.Progress = func(line string) { waits <- line }
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.Programs(ctx, "cmd/slow"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	if got := <-waits; !strings.Contains(got, "waiting for another process") {
		t.Errorf("got progress %q", got)
	}
}

// module makes an empty Go module and a cache folder of the test's own.
func module(t *testing.T) (source, cache string) {
	t.Helper()
	goCache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(goCache))) // otherwise below the next one, and empty
	source, cache = t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	write(t, source, "go.mod", "module example.test/x\n\ngo 1.26\n")
	return source, cache
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
