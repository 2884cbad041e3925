package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// schedClock is CPUCLOCK_SCHED: what the scheduler has charged to all threads, the
// ended ones too.
const schedClock = 2

// cpuClock reads the CPU clock of another process, as clock_getcpuclockid(3) names it.
func cpuClock(pid int) (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid)<<3|schedClock, &ts)
	return time.Duration(ts.Nano()), err
}
