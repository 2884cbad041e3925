// Package leak fails a package's tests if they leave goroutines behind.
//
// TestMain calls Main, or OfModule where the tests use others' servers and clients that
// end in their own time. What is left gets a moment to end; then it is printed.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// moment is how long goroutines may take to end after the last test.
const moment = time.Minute

// Main runs the tests, then what else has to be closed, and exits; goroutines that stay
// are a failure.
func Main(m *testing.M, last ...func()) { run(m, "", last) }

// OfModule is Main for goroutines in which code of this module runs, or which it started.
func OfModule(m *testing.M) { run(m, "github.com/outrigger-mesh/outrigger/", nil) }

func run(m *testing.M, of string, last []func()) {
	code := m.Run()
	for _, f := range last {
		f()
	}
	if code == 0 {
		if left := stay(of, moment); len(left) > 0 {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// stay waits for goroutines to end, and returns the stacks of those that do not.
func stay(of string, atMost time.Duration) []string {
	for deadline := time.Now().Add(atMost); ; time.Sleep(10 * time.Millisecond) {
		left := others(of)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// others are the stacks that mention of, without the caller's and the fuzzing engine's.
func others(of string) []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	stacks := strings.Split(string(buf), "\n\n")[1:] // the first is the caller's
	return slices.DeleteFunc(stacks, func(s string) bool {
		return !strings.Contains(s, of) || strings.Contains(s, "internal/fuzz.")
	})
}
