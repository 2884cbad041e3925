package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// tick is the kernel's unit of processor time for programs, USER_HZ.
const tick = time.Second / 100

// cpuOf returns how much processor time the pods' sidecars have used so far.
func cpuOf(pods ...*testmesh.Pod) (time.Duration, error) {
	var sum time.Duration
	for _, p := range pods {
		used, err := cpuOfProcess(p.SidecarPID())
		if err != nil {
			return 0, fmt.Errorf("processor time of the sidecar of %s: %w", p.Name(), err)
		}
		sum += used
	}
	return sum, nil
}

func cpuOfProcess(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold anything
	fields := strings.Fields(rest)
	const user, system = 14 - 3, 15 - 3 // numbered from 1 in proc(5), and two are cut off
	if len(fields) <= system {
		return 0, fmt.Errorf("malformed stat of process %d", pid)
	}
	var ticks int
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}
