package main

import (
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// cpuOf returns how much processor time the pods' sidecars have used so far.
func cpuOf(pods ...*testmesh.Pod) (time.Duration, error) {
	var sum time.Duration
	for _, p := range pods {
		used, err := p.SidecarCPU()
		if err != nil {
			return 0, fmt.Errorf("processor time of the sidecar of %s: %w", p.Name(), err)
		}
		sum += used
	}
	return sum, nil
}
