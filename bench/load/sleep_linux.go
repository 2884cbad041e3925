package load

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// preciseThread makes sleep as exact as the kernel can: Go's own timers wait in whole
// milliseconds where nothing else happens, and the kernel by default adds up to 50 µs.
// What remains is the time to wake a thread, usually 5–60 µs on an idle processor; it
// is measured (Result.Lateness). The thread ends with the goroutine.
func preciseThread() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// sleep waits without keeping a processor busy.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // woken early by a signal: the caller looks at the clock again
}
