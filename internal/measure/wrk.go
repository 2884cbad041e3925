package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// connections is how many wrk keeps busy.
const connections = 16

// load is what wrk did.
type load struct {
	requests float64
	seconds  float64
}

// wrk loads a URL from inside a pod as its application would.
func wrk(ctx context.Context, pod *testmesh.Pod, d time.Duration, url string, more ...string) (load, error) {
	argv := append([]string{"wrk", "-t1", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", int(d.Seconds()))}, more...)
	out, err := pod.Exec(ctx, appUID, append(argv, url)...)
	if err != nil {
		return load{}, err
	}
	return parseWrk(out)
}

var total = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([0-9.]+)(ms|s|m),`)

// parseWrk reads wrk's report and refuses one with errors in it.
func parseWrk(report string) (load, error) {
	for _, bad := range []string{"Non-2xx", "Socket errors"} {
		if strings.Contains(report, bad) {
			return load{}, fmt.Errorf("wrk saw errors:\n%s", report)
		}
	}
	m := total.FindStringSubmatch(report)
	if m == nil {
		return load{}, fmt.Errorf("no report of wrk:\n%s", report)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return load{}, err
	}
	d, err := time.ParseDuration(m[2] + m[3])
	if err != nil {
		return load{}, err
	}
	if n == 0 || d <= 0 {
		return load{}, fmt.Errorf("wrk did nothing:\n%s", report)
	}
	return load{requests: n, seconds: d.Seconds()}, nil
}
