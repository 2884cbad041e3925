package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// screen writes for people: headings, text, tables, and lines that change while
// something runs. Elsewhere than on a terminal nothing is overwritten or coloured.
type screen struct {
	// immutable
	out    io.Writer
	colour bool
	live   bool // lines can be overwritten
	width  int  // of a line that can be overwritten
	now    func() time.Time

	mu      sync.Mutex
	moving  int       // guarded by mu; lines that the next output overwrites
	written time.Time // guarded by mu; when anything was last written
}

// Times between two pictures of something that runs.
const (
	frame = 150 * time.Millisecond // on a terminal
	quiet = 5 * time.Second        // elsewhere, if nothing else was written
)

// newScreen returns a screen for a file, which is looked at to see what it can.
func newScreen(f *os.File) *screen {
	s := &screen{out: f, width: 80, now: time.Now, written: time.Now()}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || os.Getenv("TERM") == "dumb" {
		return s
	}
	s.live = true
	s.colour = os.Getenv("NO_COLOR") == ""
	if size.Col > 0 {
		s.width = int(size.Col)
	}
	return s
}

// The colours, as parameters of the terminal's "select graphic rendition".
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

// paint colours a text, if this screen has colours.
func (s *screen) paint(colour, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// print writes lines below everything that stays.
func (s *screen) print(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(0, lines)
}

// printf writes one line.
func (s *screen) printf(format string, args ...any) { s.print(fmt.Sprintf(format, args...)) }

// picture shows lines that the next output overwrites. Elsewhere than on a
// terminal it writes the first of them, and only after some silence.
func (s *screen) picture(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live {
		fitting := make([]string, len(lines))
		for i, line := range lines {
			fitting[i] = cut(line, s.width-1)
		}
		s.write(len(lines), fitting)
		return
	}
	if len(lines) > 0 && s.now().Sub(s.written) >= quiet {
		s.write(0, lines[:1])
	}
}

// write overwrites what moves; the last lines of what it writes move from now on.
func (s *screen) write(moving int, lines []string) {
	var b strings.Builder
	if s.moving > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.moving)
	}
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	s.moving, s.written = moving, s.now()
	_, _ = io.WriteString(s.out, b.String()) // nobody to tell
}

// during runs work and shows the pictures of it that draw makes.
func (s *screen) during(draw func() []string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			s.print() // takes the last picture away
			return err
		case <-tick.C:
			s.picture(draw())
		}
	}
}

// bar returns a bar of that width, filled to a share of 0 to 1.
func (s *screen) bar(share float64, width int) string {
	full, empty := "#", "."
	if s.live {
		full, empty = "█", "░"
	}
	n := min(max(int(share*float64(width)+0.5), 0), width)
	return s.paint(cyan, strings.Repeat(full, n)) + s.paint(dim, strings.Repeat(empty, width-n))
}

// cut shortens a line to some characters, not counting colours.
func cut(line string, width int) string {
	n := 0
	escape := false
	for i, r := range line {
		switch {
		case escape:
			escape = r != 'm'
		case r == '\x1b':
			escape = true
		case n == width:
			if strings.Contains(line, "\x1b") {
				return line[:i] + "\x1b[0m"
			}
			return line[:i]
		default:
			n++
		}
	}
	return line
}
