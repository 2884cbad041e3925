package proc

import (
	"testing"
	"time"
)

func TestStatLineWithBracketsInTheName(t *testing.T) {
	t.Parallel()
	const line = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 1 2 3\n"
	var u Usage
	parent, err := parseStat(line, &u)
	if parent != 1 || u.User != 1500*time.Millisecond || u.System != 500*time.Millisecond || err != nil {
		t.Errorf("got parent %d, %v, %v (%v)", parent, u.User, u.System, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x y 0"} {
		if _, err := parseStat(bad, &u); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestStatusGivesBytes(t *testing.T) {
	t.Parallel()
	const status = "Name:\tx\nVmHWM:\t   40 kB\nVmRSS:\t   30 kB\nRssAnon:\t   10 kB\nRssFile:\t   20 kB\nThreads:\t7\n"
	var u Usage
	err := parseStatus(status, &u)
	want := Usage{RSS: 30 << 10, PeakRSS: 40 << 10, Anon: 10 << 10, File: 20 << 10, Threads: 7}
	if u != want || err != nil {
		t.Errorf("got %+v (%v), want %+v", u, err, want)
	}
	for _, bad := range []string{"Name:\tx\n", "VmRSS:\tmuch kB\n"} {
		if err := parseStatus(bad, &u); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
