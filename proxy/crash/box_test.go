package crash_test

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy/crash"
)

func bug() { panic("a bug") }

func TestAPanicReachesWhoWaitsWithItsStack(t *testing.T) {
	t.Parallel()
	var b crash.Box
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Catch()
		bug()
	}()
	<-done
	if !b.Caught() {
		t.Fatal("nothing was caught")
	}
	defer func() {
		text, _ := recover().(string)
		if !strings.HasPrefix(text, "a bug\n") || !strings.Contains(text, "crash_test.bug") {
			t.Errorf("got %q, want the value and the stack", text)
		}
		if b.Caught() {
			t.Error("it would be thrown again")
		}
	}()
	b.Rethrow()
}

func TestNothingIsThrownWithoutAPanic(t *testing.T) {
	t.Parallel()
	var b crash.Box
	func() { defer b.Catch() }()
	b.Rethrow()
	if b.Caught() || b.Text() != "" {
		t.Errorf("got %q", b.Text())
	}
}
