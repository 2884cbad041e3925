package upstream_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package if goroutines or descriptors are left at its end.
func TestMain(m *testing.M) {
	goroutines, before := runtime.NumGoroutine(), openSockets()+1 // Go's own epoll set may come
	code := m.Run()
	var left string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		n, sockets := runtime.NumGoroutine(), openSockets()
		if n <= goroutines && sockets <= before {
			break
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			left = fmt.Sprintf("left over: %d goroutines, %d sockets\n%s", n-goroutines, sockets-before, buf[:runtime.Stack(buf, true)])
			break
		}
	}
	if left != "" && code == 0 {
		fmt.Fprintln(os.Stderr, left)
		code = 1
	}
	os.Exit(code)
}

// openSockets counts this process's sockets and epoll sets.
func openSockets() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		switch target, _ := os.Readlink("/proc/self/fd/" + e.Name()); {
		case strings.HasPrefix(target, "socket:"), strings.HasSuffix(target, "[eventpoll]"):
			n++
		}
	}
	return n
}
