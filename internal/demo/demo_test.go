package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/netns"
)

// demoLimit is for a run after the builds; CI's machines are slow.
const demoLimit = 6 * time.Minute

// TestDemo runs what "make demo" runs.
func TestDemo(t *testing.T) {
	testmesh.Require(t)
	out := &logWriter{t: t}
	began := time.Now()
	err := show(t.Context(), testScreen(out), options{binDir: os.Getenv(testmesh.BinEnv)})
	if err != nil {
		t.Error(err)
	}
	// A first build of istiod would be most of it.
	if took := time.Since(began); took > demoLimit && !out.has("building istiod, once") {
		t.Errorf("the demo took %v, more than %v", took, demoLimit)
	}
	if !out.has("all 8 steps showed what they should") {
		t.Error("not all steps were shown")
	}
	nothingLeft(t)
}

func TestDemoIsRemovedWhenInterrupted(t *testing.T) {
	testmesh.Require(t)
	for _, during := range []string{"istiod is up", "[1/8]", "[3/8]"} {
		t.Run(during, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &logWriter{t: t, until: during, then: cancel}
			began := time.Now()
			err := show(ctx, testScreen(out), options{keep: true, binDir: os.Getenv(testmesh.BinEnv)})
			if took := time.Since(began); took > demoLimit {
				t.Errorf("took %v to end", took)
			}
			if ctx.Err() == nil {
				t.Fatalf("came to an end by itself: %v", err)
			}
			nothingLeft(t)
		})
	}
}

func testScreen(out *logWriter) *screen {
	return &screen{out: out, width: 80, now: time.Now, written: time.Now()}
}

// nothingLeft looks for what a mesh of this process could have left behind.
func nothingLeft(t *testing.T) {
	t.Helper()
	for _, dir := range []string{netns.Dir, "/etc/netns", os.TempDir()} {
		left, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("outrigger-%d-*", os.Getpid())))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if err == nil && len(bytes.TrimSpace(children)) > 0 {
		t.Errorf("left running: %s", children)
	}
}

// logWriter writes whole lines to the test's log, and may act on one.
type logWriter struct {
	t     *testing.T
	until string // a part of a line, at which then is called
	then  func()

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.text.Write(p)
	w.mu.Unlock()
	for line := range bytes.Lines(p) {
		w.t.Log(string(bytes.TrimRight(line, "\n")))
	}
	if w.then != nil && bytes.Contains(p, []byte(w.until)) {
		w.then()
	}
	return len(p), nil
}

func (w *logWriter) has(part string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Contains(w.text.Bytes(), []byte(part))
}
