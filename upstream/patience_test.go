package upstream

import (
	"testing"
	"time"
)

func TestPatienceIsLearntFromClosesThatAgree(t *testing.T) {
	t.Parallel()
	const s = time.Second
	type seen struct{ at, idle time.Duration }
	for _, tt := range []struct {
		name string
		told time.Duration
		seen []seen
		at   time.Duration
		want time.Duration
	}{
		{name: "nothing is known"},
		{name: "told", told: 5 * s, want: 4500 * time.Millisecond},
		{name: "told much", told: 100 * s, want: 98 * s},
		{name: "told little", told: s, want: 800 * time.Millisecond},
		{name: "told less than a second", told: s / 2},
		{name: "one close", seen: []seen{{5 * s, 5 * s}}},
		{name: "two that agree", seen: []seen{{5 * s, 5 * s}, {11 * s, 5100 * time.Millisecond}}, at: 12 * s, want: 4500 * time.Millisecond},
		{name: "two that differ", seen: []seen{{5 * s, 5 * s}, {11 * s, 6 * s}}, at: 12 * s},
		{name: "two of one moment are a restart", seen: []seen{{5 * s, 5 * s}, {5*s + 50*time.Millisecond, 5 * s}}, at: 12 * s},
		{name: "two after moments are no time-out", seen: []seen{{s, s / 10}, {2 * s, s / 10}}, at: 3 * s},
		{name: "a restart between changes nothing", seen: []seen{{5 * s, 5 * s}, {11 * s, 5 * s}, {15 * s, 2 * s}}, at: 20 * s, want: 4500 * time.Millisecond},
		{name: "the shorter counts", told: 4 * s, seen: []seen{{5 * s, 5 * s}, {11 * s, 5 * s}}, at: 12 * s, want: 3600 * time.Millisecond},
		{name: "forgotten after an hour", seen: []seen{{5 * s, 5 * s}, {11 * s, 5 * s}}, at: 2 * time.Hour},
	} {
		start := time.Now()
		var p patience
		p.hear(tt.told)
		for _, c := range tt.seen {
			p.see(c.idle, start.Add(c.at))
		}
		if got := p.limit(start.Add(tt.at)); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
