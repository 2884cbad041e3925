package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var splitStep = step{ //nolint:gochecknoglobals // an entry of a table
	name: "A weighted split",
	about: []string{
		"A VirtualService gives reviews v1, v2 and v3 the weights 80, 15 and 5.",
		"web sends 10,000 requests; each sidecar on the way speaks mutual TLS to the next.",
	},
	run: split,
}

const (
	splitRequests = 10_000
	splitConns    = 8
	splitPoints   = 3 // how far a share may be from its weight
)

// version is a destination of the VirtualService.
type version struct {
	pod    string
	weight int // percent
}

// versions returns the destinations with the weights of traffic.yaml.
func versions() []version {
	return []version{{"reviews-v1", 80}, {"reviews-v2", 15}, {"reviews-v3", 5}}
}

func split(ctx context.Context, d *demo) (string, error) {
	s := d.screen
	used, err := cpuOf(d.meshed...)
	if err != nil {
		return "", err
	}
	began := time.Now()
	r := load{from: d.web, to: reviewsAddr, conns: splitConns, total: splitRequests}.start(ctx, nil)
	draw := func() []string {
		t := r.soFar()
		took := time.Since(began)
		status := fmt.Sprintf("%s%s of %s requests, %s a second", indent,
			count(t.asked), count(splitRequests), count(int(float64(t.asked)/took.Seconds())))
		return append([]string{status}, s.lines(splitTable(s, &t))...)
	}
	var t tally
	if err := s.during(draw, func() error { t = r.wait(); return ctx.Err() }); err != nil {
		return "", err
	}
	took := time.Since(began)
	now, err := cpuOf(d.meshed...)
	if err != nil {
		return "", err
	}
	d.cpuPerRequest = (now - used) / time.Duration(max(t.asked, 1))
	s.show(splitTable(s, &t))
	s.printf("%s%s requests in %s, %d failed", indent, count(t.asked), span(took), t.failed)
	return splitResult(&t)
}

func splitTable(s *screen, t *tally) *table {
	table := &table{heads: []string{"version", ">weight", ">requests", ">share", ""}}
	for _, v := range versions() {
		share := t.share(v.pod)
		table.add(v.pod, fmt.Sprintf("%d %%", v.weight), count(t.by[v.pod]), fmt.Sprintf("%.1f %%", share), s.bar(share/100, 30))
	}
	return table
}

// share returns which percentage of the questions a pod answered.
func (t *tally) share(pod string) float64 { return 100 * float64(t.by[pod]) / float64(max(t.asked, 1)) }

// splitResult compares the shares with the weights.
func splitResult(t *tally) (string, error) {
	errs := []error{t.none()}
	var shares, weights []string
	for _, v := range versions() {
		share := t.share(v.pod)
		shares = append(shares, fmt.Sprintf("%.1f", share))
		weights = append(weights, strconv.Itoa(v.weight))
		if math.Abs(share-float64(v.weight)) > splitPoints {
			errs = append(errs, fmt.Errorf("%s got %.1f %% where its weight is %d, more than %d points off", v.pod, share, v.weight, splitPoints))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	return strings.Join(shares, " / ") + " % for weights " + strings.Join(weights, " / "), nil
}
