package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// play shows a bit of everything on a screen whose clock stands at a time of the
// caller's.
func play(s *screen, clock *time.Time) {
	s.print(s.paint(bold, "[1/2] A step"), indent+s.paint(dim, "about it"))
	s.picture([]string{indent + "1 of 3", indent + "left out without a terminal"})
	*clock = clock.Add(quiet)
	s.picture([]string{indent + "2 of 3 " + s.bar(2.0/3, 6), indent + strings.Repeat("long ", 20)})
	*clock = clock.Add(frame)
	s.picture([]string{indent + "3 of 3 " + s.bar(1, 6)})
	t := table{heads: []string{"version", ">share", ""}}
	t.add("v1", s.paint(green, "80.1 %"), "µs")
	t.add("a longer one", "5.0 %", "")
	s.show(&t)
	s.show(&table{heads: []string{"", ">"}, rows: [][]string{{"no heads", "1"}, {"at all", "10"}}})
	_ = summary(s, []result{
		{step: &step{name: "A step"}, shown: "it", took: time.Second},
		{step: &step{name: "Another step"}, err: errors.New("it did not\nfor reasons"), took: 20 * time.Millisecond},
	})
}

func TestScreenLooksAsItShould(t *testing.T) {
	for _, tc := range []struct {
		name         string
		live, colour bool
	}{{"plain", false, false}, {"terminal", true, true}, {"terminal-without-colours", true, false}} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			clock := time.Unix(1e9, 0)
			s := &screen{out: &out, live: tc.live, colour: tc.colour, width: 60, now: func() time.Time { return clock }, written: clock}
			play(s, &clock)
			got := strings.ReplaceAll(out.String(), "\x1b", "<esc>")
			file := filepath.Join("testdata", tc.name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if s := newScreen(f); s.live || s.colour {
		t.Errorf("got live %v, colour %v for a file", s.live, s.colour)
	}
}

func TestDuringTellsOfSlowWorkAndReturnsItsError(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, now: time.Now} // last written long ago
	failure := errors.New("no")
	drawn := make(chan struct{}, 100)
	err := s.during(func() []string {
		drawn <- struct{}{}
		return []string{"working"}
	}, func() error { <-drawn; <-drawn; return failure })
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want %v", err, failure)
	}
	if got := out.String(); got != "working\n" {
		t.Errorf("got %q, want one line", got)
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{count(0), "0"},
		{count(999), "999"},
		{count(10000), "10,000"},
		{count(1234567), "1,234,567"},
		{requests(1), "1 request"},
		{requests(2), "2 requests"},
		{span(613 * time.Microsecond), "613 µs"},
		{span(2760 * time.Microsecond), "2.76 ms"},
		{span(416 * time.Millisecond), "416 ms"},
		{span(1730 * time.Millisecond), "1.7 s"},
		{span(305 * time.Second), "5m05s"},
		{cut("abcdef", 3), "abc"},
		{cut("\x1b[1mab\x1b[0mcdef", 3), "\x1b[1mab\x1b[0mc\x1b[0m"},
		{cut("ab", 3), "ab"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
	samples := []time.Duration{5, 1, 4, 2, 3}
	if got := quantile(samples, 0.5); got != 3 {
		t.Errorf("got median %d, want 3", got)
	}
	if got := quantile(samples, 0.99); got != 5 {
		t.Errorf("got p99 %d, want 5", got)
	}
}

func TestBuildProgressIsACount(t *testing.T) {
	p := &progress{screen: &screen{}, began: time.Now()}
	p.note("building istiod (first time, takes about 5 minutes): 950 of ~1900 packages")
	p.note("pod web.shop (10.0.1.1)")
	got := p.picture()[0]
	if want := "      building istiod, once  ############............ 950 of ~1,900 packages"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	p.note("building istiod: done")
	p.note("istiod is ready after 1s")
	if got := p.picture()[0]; !strings.HasPrefix(got, indent+"istiod is ready after 1s") {
		t.Errorf("got %q", got)
	}
}
