package proc_test

import (
	"math"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/proc"
)

func TestOwnUsage(t *testing.T) {
	t.Parallel()
	tracker, err := proc.Track(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	x := 0.0
	for before := used(t); used(t)-before < 60*time.Millisecond; {
		for range 10_000 {
			x = math.Sqrt(x + 1)
		}
	}
	got, err := tracker.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if got.CPU < 5*time.Millisecond || got.CPU > time.Minute {
		t.Errorf("got %v of CPU for a busy loop of 60 ms", got.CPU)
	}
	if got.RSS < 1<<20 || got.PeakRSS < got.RSS/2 || got.Anon+got.File > 2*got.RSS || got.Threads < 2 || got.FDs < 3 {
		t.Errorf("got %+v", got)
	}
}

// used is the processor's time that this process has had, by another count.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestTreeHasChildren(t *testing.T) {
	t.Parallel()
	c := exec.CommandContext(t.Context(), "sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	got, err := proc.Tree(os.Getpid())
	if err != nil || got[0] != os.Getpid() || !slices.Contains(got, c.Process.Pid) {
		t.Errorf("got %v (%v), want %d in it", got, err, c.Process.Pid)
	}
}

func TestProcessesThatAreGoneAreAnError(t *testing.T) {
	t.Parallel()
	if _, err := proc.Of(1 << 30); err == nil {
		t.Error("it exists")
	}
	if _, err := proc.Track(os.Getpid(), 1<<30); err == nil {
		t.Error("it is tracked")
	}
}

func TestSumAddsUp(t *testing.T) {
	t.Parallel()
	u := proc.Usage{CPU: 1, User: 2, System: 3, RSS: 4, PeakRSS: 5, Anon: 6, File: 7, Threads: 8, FDs: 9}
	want := proc.Usage{CPU: 2, User: 4, System: 6, RSS: 8, PeakRSS: 10, Anon: 12, File: 14, Threads: 16, FDs: 18}
	if got := proc.Sum(u, u); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
