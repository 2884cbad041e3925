package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc/PID/stat: USER_HZ is 100 wherever Go runs.
const tick = 10 * time.Millisecond

// cpuTime returns what user and system time a process was charged.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(text))
}

// parseStat reads fields 14 and 15 of a stat line. The name of the process, in
// brackets, may hold spaces and brackets.
func parseStat(text string) (time.Duration, error) {
	end := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("no stat line: %q", text)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// memory is what /proc/PID/status says, in MB of 10^6 bytes.
type memory struct {
	rss, anon, file, peak float64
}

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	return parseStatus(string(text))
}

func parseStatus(text string) (memory, error) {
	var m memory
	for name, to := range map[string]*float64{"VmRSS": &m.rss, "RssAnon": &m.anon, "RssFile": &m.file, "VmHWM": &m.peak} {
		number, _ := strings.CutSuffix(field(text, name), " kB")
		kib, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return m, fmt.Errorf("status without %s: %w", name, err)
		}
		*to = kib * 1024 / 1e6
	}
	return m, nil
}

// field returns the value of the first line "name: value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// findProcess returns the process that has this word among its arguments and is
// not a helper on its way to become it.
func findProcess(program, word string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // gone
		}
		args := bytes.Split(text, []byte{0})
		if filepath.Base(string(args[0])) != program {
			continue
		}
		for _, a := range args[1:] {
			if string(a) == word {
				return strconv.Atoi(filepath.Base(filepath.Dir(f)))
			}
		}
	}
	return 0, fmt.Errorf("no process %s %s", program, word)
}
