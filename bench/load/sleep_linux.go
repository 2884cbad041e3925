package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep waits without keeping a processor busy. Go's own timers wait in whole
// milliseconds where nothing else happens.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // woken early by a signal: the caller looks at the clock again
}
