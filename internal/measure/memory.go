package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// size is a mesh whose push is measured, with the target in MB if there is one.
type size struct {
	services int
	target   float64
}

// memory measures what a sidecar keeps resident after a push.
func (b *bench) memory(ctx context.Context) error {
	sizes := []size{{10, 30}, {1000, 36}}
	if b.huge {
		sizes = append(sizes, size{services: 10_000})
	}
	for _, s := range sizes {
		if err := b.memoryWith(ctx, s); err != nil {
			return fmt.Errorf("%d services: %w", s.services, err)
		}
	}
	return nil
}

func (b *bench) memoryWith(ctx context.Context, s size) (err error) {
	mesh, err := b.mesh(ctx, clientYAML+testmesh.ManyServices(s.services, endpointsPer))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mesh.Close()) }()
	pod, err := mesh.AddPod(ctx, startPodName, testmesh.WithoutWait())
	if err != nil {
		return err
	}
	rss := series{name: "resident, MB", format: "%.1f"}
	anon := series{name: "  of it anonymous", format: "%.1f"}
	file := series{name: "  of it pages of the binary", format: "%.1f"}
	peak := series{name: "peak, MB", format: "%.1f"}
	cpu := series{name: "CPU until ready, s", format: "%.2f"}
	wall := series{name: "first CDS push to ready, s", format: "%.2f"}
	for range pick(b, 5, 1) {
		st, err := startOnce(ctx, mesh, pod)
		if err != nil {
			return err
		}
		m, err := quiet(ctx, pod.SidecarPID())
		if err != nil {
			return err
		}
		b.say("memory: %d services: %.1f MB", s.services, m.rss)
		rss.values, anon.values = append(rss.values, m.rss), append(anon.values, m.anon)
		file.values, peak.values = append(file.values, m.file), append(peak.values, m.peak)
		cpu.values, wall.values = append(cpu.values, st.cpu.Seconds()), append(wall.values, st.ready.Sub(st.pushed).Seconds())
	}
	if s.target > 0 {
		rss.note = verdict(median(rss.values), s.target, "%.0f")
	}
	title := fmt.Sprintf("memory: %d services with %d endpoints each, MB of 10^6 bytes", s.services, endpointsPer)
	return table(b.out, title, []series{rss, anon, file, peak, cpu, wall})
}

// quiet waits until a process has used hardly any CPU for a while and its memory
// has settled, at most two minutes.
func quiet(ctx context.Context, pid int) (memory, error) {
	const still = 5 // seconds
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	var cpu time.Duration
	var settled memory
	for calm, n := 0, 0; ; n++ {
		c, err1 := cpuTime(pid)
		m, err2 := memoryOf(pid)
		if err := errors.Join(err1, err2); err != nil {
			return m, err
		}
		if c-cpu <= tick && math.Abs(m.rss-settled.rss) < 0.1 {
			calm++
		} else {
			calm = 0
		}
		if calm >= still || n > 120 {
			return m, nil
		}
		cpu, settled = c, m
		select {
		case <-pause.C:
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
}
