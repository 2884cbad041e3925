// Package proc reads what processes have used from Linux.
//
// Its life: Track notes what a set of processes has used, Stop says what they used
// since then; Of is one look at one process. Nothing runs in between.
//
// It must not know whose processes they are.
package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/PID/stat: USER_HZ is 100 wherever Go runs.
const tick = 10 * time.Millisecond

// Usage is what a process uses and has used.
type Usage struct {
	CPU          time.Duration // user and system, to the nanosecond
	User, System time.Duration // its parts, in ticks of 10 ms

	RSS, PeakRSS int64 // bytes of resident memory
	Anon, File   int64 // of it, not backed and backed by files
	Threads, FDs int
}

// Of looks at a process.
func Of(pid int) (Usage, error) {
	var u Usage
	for _, read := range []func(int, *Usage) error{readStat, readStatus, readFDs} {
		if err := read(pid, &u); err != nil {
			return Usage{}, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	cpu, err := cpuClock(pid)
	if err != nil { // the ticks are less precise and as true
		cpu = u.User + u.System
	}
	u.CPU = cpu
	return u, nil
}

func readStat(pid int, u *Usage) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	_, err = parseStat(string(text), u)
	return err
}

// parseStat reads the times of a stat line and returns the parent. The name of the
// process, in brackets, may hold spaces and brackets.
func parseStat(text string, u *Usage) (parent int, err error) {
	end := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("no stat line: %q", text)
	}
	parent, err1 := strconv.Atoi(fields[1])
	user, err2 := strconv.ParseInt(fields[11], 10, 64)
	system, err3 := strconv.ParseInt(fields[12], 10, 64)
	u.User, u.System = time.Duration(user)*tick, time.Duration(system)*tick
	return parent, errors.Join(err1, err2, err3)
}

func readStatus(pid int, u *Usage) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	return parseStatus(string(text), u)
}

func parseStatus(text string, u *Usage) error {
	values := map[string]*int64{"VmRSS": &u.RSS, "VmHWM": &u.PeakRSS, "RssAnon": &u.Anon, "RssFile": &u.File}
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if name == "Threads" {
			u.Threads, _ = strconv.Atoi(value)
			continue
		}
		to := values[name]
		if to == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*to = kib << 10
		found++
	}
	if found != len(values) {
		return errors.New("status without memory: the process has ended")
	}
	return nil
}

func readFDs(pid int, u *Usage) error {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		if os.IsPermission(err) {
			return nil // another user's process, and not root: the rest can be read
		}
		return err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	u.FDs = len(names)
	return err
}

// Tree returns a process and all its descendants.
func Tree(pid int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // gone
		}
		parent, err := parseStat(string(text), new(Usage))
		child, err2 := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && err2 == nil {
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}
