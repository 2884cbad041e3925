package proxy_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails where a test left a goroutine of this module behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leaked(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

// leaked lists goroutines that stay for longer than a moment.
func leaked() string {
	var left string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = ""
		var leftSb31 strings.Builder
		for g := range strings.SplitSeq(string(buf), "\n\n") {
			if strings.Contains(g, "outrigger/") && !strings.Contains(g, "TestMain") {
				leftSb31.WriteString(g + "\n\n")
			}
		}
		left += leftSb31.String()
		if left == "" {
			break
		}
	}
	return left
}
