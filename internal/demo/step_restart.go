package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

var restartStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "istiod killed under load",
	about: []string{
		"web asks 500 times a second while istiod is killed (SIGKILL) and started again.",
		"Sidecars go on with what they have, and come back to istiod by themselves.",
	},
	run: restart,
}

const (
	restartRate  = 500
	restartConns = 8
	restartWait  = time.Minute
)

func restart(ctx context.Context, d *demo) (string, error) {
	s := d.screen
	r := load{from: d.web, to: reviewsAddr, conns: restartConns, rate: restartRate}.start(ctx, nil)
	defer r.stop()
	var away, returned time.Duration
	err := s.during(r.watch(s), func() error {
		if !sleep(ctx, time.Second/2) {
			return ctx.Err()
		}
		down := time.Now()
		if err := d.mesh.Kill(); err != nil {
			return err
		}
		if err := d.mesh.StartIstiod(ctx); err != nil {
			return err
		}
		away = time.Since(down)
		up := time.Now()
		err := until(ctx, restartWait, "the return of all sidecars to istiod", func() bool { return d.connected(ctx) == len(d.meshed) })
		returned = time.Since(up)
		sleep(ctx, time.Second/2) // what istiod pushes now should not disturb either
		return err
	})
	t := r.stop()
	if err := errors.Join(err, t.none()); err != nil {
		return "", err
	}
	tb := table{heads: []string{"", ">"}}
	tb.add("istiod was away for", span(away))
	tb.add(fmt.Sprintf("all %d sidecars were connected again after", len(d.meshed)), span(returned))
	tb.add("requests meanwhile", count(t.asked))
	tb.add("failed", count(t.failed))
	s.show(&tb)
	return fmt.Sprintf("none of %s requests failed", count(t.asked)), nil
}

// connected returns how many of our sidecars istiod knows, or -1.
func (d *demo) connected(ctx context.Context) int {
	text, err := d.mesh.Debug(ctx, "/debug/syncz")
	if err != nil {
		return -1
	}
	var known []struct {
		Proxy string `json:"proxy"`
	}
	if json.Unmarshal(text, &known) != nil {
		return -1
	}
	n := 0
	for _, p := range d.meshed {
		for _, k := range known {
			if strings.HasPrefix(k.Proxy, p.Name()+".") {
				n++
				break
			}
		}
	}
	return n
}
