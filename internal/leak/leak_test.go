package leak

import (
	"strings"
	"testing"
	"time"
)

func TestGoroutineThatStaysIsSeen(t *testing.T) {
	const of = "leak.waitFor"
	if left := stay(of, time.Minute); len(left) > 0 {
		t.Fatalf("before there is one: %v", left)
	}
	end := make(chan struct{})
	go waitFor(end)
	deadline := time.Now().Add(time.Minute)
	for len(others(of)) == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if left := stay(of, 0); len(left) != 1 || !strings.Contains(left[0], of) {
		t.Errorf("got %q, want the one that waits", left)
	}
	close(end)
	if left := stay(of, time.Minute); len(left) > 0 {
		t.Errorf("after its end: %v", left)
	}
}

//go:noinline
func waitFor(end <-chan struct{}) { <-end }
