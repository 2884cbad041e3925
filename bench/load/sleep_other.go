//go:build !linux

package load

import "time"

func preciseThread() {}

func sleep(d time.Duration) { time.Sleep(d) }
