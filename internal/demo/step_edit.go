package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/shop"
)

var editStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "A rule edited live",
	about: []string{
		"The weights become 0, 0 and 100 while web asks 500 times a second. istiod sees the",
		"file, waits a moment for more changes, as it always does, and pushes to the sidecars.",
	},
	run: edit,
}

const (
	trafficFile = "traffic.yaml" // of the shop
	editRate    = 500
	editConns   = 8
	editEnough  = 200 // answers in a row by the new rule that make it effective
)

// weighted returns the shop's traffic rules with other weights.
func weighted(weights ...int) (string, error) {
	text, err := fs.ReadFile(shop.Files(), trafficFile)
	if err != nil {
		return "", err
	}
	edited := string(text)
	for i, v := range versions() {
		edited = strings.Replace(edited, fmt.Sprintf("weight: %d ", v.weight), fmt.Sprintf("weight: %d ", weights[i]), 1)
	}
	if edited == string(text) {
		return "", errors.New("the shop's weights are not those expected")
	}
	return edited, nil
}

func edit(ctx context.Context, d *demo) (string, error) {
	rule, err := weighted(0, 0, 100)
	if err != nil {
		return "", err
	}
	original, err := fs.ReadFile(shop.Files(), trafficFile)
	if err != nil {
		return "", err
	}
	const chosen = "reviews-v3"
	var row atomic.Int64
	var first time.Time // of the row; read when the load has ended
	r := load{from: d.web, to: reviewsAddr, conns: editConns, rate: editRate}.start(ctx, func(a answer) {
		switch {
		case a.err != nil:
		case a.from.Pod != chosen:
			row.Store(0)
		case row.Add(1) == 1:
			first = a.asked
		}
	})
	defer r.stop()
	var written time.Time
	err = d.screen.during(r.watch(d.screen), func() error {
		if !sleep(ctx, time.Second/2) {
			return ctx.Err()
		}
		written = time.Now()
		applied := make(chan error, 1)
		go func() { applied <- d.mesh.Apply(trafficFile, rule) }()
		err := until(ctx, effectWait, "every answer coming from "+chosen, func() bool { return row.Load() >= editEnough })
		return errors.Join(err, <-applied)
	})
	t := r.stop()
	if err = errors.Join(err, d.mesh.Apply(trafficFile, string(original)), t.none()); err != nil {
		return "", err
	}
	took := first.Sub(written)
	tb := table{heads: []string{">after the edit", ""}}
	tb.add("0 ms", "file written with weights 0 / 0 / 100")
	tb.add(span(took), fmt.Sprintf("first of %s answers in a row from %s", count(int(row.Load())), chosen))
	d.screen.show(&tb)
	d.screen.printf("%s%s requests, %d failed; the weights are 80 / 15 / 5 again", indent, count(t.asked), t.failed)
	return "in effect " + span(took) + " after the file was written, no request lost", nil
}
