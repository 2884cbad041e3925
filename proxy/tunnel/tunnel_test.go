package tunnel_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/tunnel"
)

// end is one end of a connection in memory that can be half-closed.
type end struct {
	*io.PipeReader
	*io.PipeWriter
}

// CloseWrite ends what is sent.
func (e *end) CloseWrite() error { return e.PipeWriter.Close() }

// Close ends both directions.
func (e *end) Close() error {
	return errors.Join(e.PipeReader.Close(), e.PipeWriter.Close())
}

// line is a connection in memory.
func line() (a, b *end) {
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	return &end{ar, aw}, &end{br, bw}
}

type outcome struct {
	n   int64
	err error
}

// relay runs a tunnel between the near ends of two lines, and returns the far ones.
func relay(idle, half time.Duration) (down, up *end, done <-chan outcome) {
	down, nearDown := line()
	up, nearUp := line()
	ch := make(chan outcome, 1)
	go func() {
		n, err := tunnel.Relay(nearDown, nearUp, idle, half)
		ch <- outcome{n, err}
	}()
	return down, up, ch
}

func TestBytesPassBothWaysUntilBothHaveEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down, up, done := relay(0, 0)
		question, answer := strings.Repeat("question ", 20_000), strings.Repeat("answer ", 30_000)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.WriteString(down, question)
			_ = down.CloseWrite()
		})
		got, err := io.ReadAll(up) // ends although the other direction is open
		if err != nil || string(got) != question {
			t.Errorf("upstream got %d bytes, %v", len(got), err)
		}
		wg.Go(func() {
			_, _ = io.WriteString(up, answer)
			_ = up.CloseWrite()
		})
		if got, err = io.ReadAll(down); err != nil || string(got) != answer {
			t.Errorf("downstream got %d bytes, %v", len(got), err)
		}
		wg.Wait()
		if o := <-done; o.err != nil || o.n != int64(len(answer)) {
			t.Errorf("got %d bytes down, %v", o.n, o.err)
		}
	})
}

func TestAFailureInOneDirectionEndsBoth(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, fail := range map[string]func(down, up *end){
		"reading from the downstream": func(down, _ *end) { _ = down.PipeWriter.CloseWithError(broken) },
		"reading from the upstream":   func(_, up *end) { _ = up.PipeWriter.CloseWithError(broken) },
		"writing to the downstream": func(down, up *end) {
			_ = down.PipeReader.CloseWithError(broken)
			_, _ = io.WriteString(up, "x")
		},
		"writing to the upstream": func(down, up *end) {
			_ = up.PipeReader.CloseWithError(broken)
			_, _ = io.WriteString(down, "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				down, up, done := relay(0, 0)
				go fail(down, up)
				if o := <-done; o.err == nil {
					t.Error("the relay ended without an error")
				}
				for side, e := range map[string]*end{"downstream": down, "upstream": up} {
					if _, err := e.Write([]byte("x")); err == nil {
						t.Errorf("the %s can still send", side)
					}
				}
			})
		})
	}
}

func TestATunnelEndsByTheClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		idle, half time.Duration
		play       func(down, up *end)
		least      time.Duration
		most       time.Duration
		want       error
	}{
		"idle": {time.Minute, 0, func(_, _ *end) {}, time.Minute, 2 * time.Minute, tunnel.ErrIdle},
		"bytes in one direction keep it alive": {time.Minute, 0, func(down, up *end) {
			go func() { _, _ = io.Copy(io.Discard, up) }()
			for range 10 {
				_, _ = io.WriteString(down, "x")
				time.Sleep(40 * time.Second)
			}
		}, 6 * time.Minute, 9 * time.Minute, tunnel.ErrIdle},
		"half closed": {0, time.Minute, func(down, up *end) {
			go func() { _, _ = io.Copy(io.Discard, up) }()
			_ = down.CloseWrite()
		}, time.Minute, 2 * time.Minute, tunnel.ErrIdle},
		"without a bound": {0, 0, func(down, up *end) {
			go func() { _, _ = io.Copy(io.Discard, up) }()
			time.Sleep(24 * time.Hour)
			_ = down.CloseWrite()
			_ = up.CloseWrite()
		}, 24 * time.Hour, 24*time.Hour + time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				down, up, done := relay(c.idle, c.half)
				c.play(down, up)
				o := <-done
				if took := time.Since(began); took < c.least || took > c.most || !errors.Is(o.err, c.want) {
					t.Errorf("ended after %v with %v", took, o.err)
				}
			})
		})
	}
}

func TestAnEndIsPassedOnToWhoHasNoHalf(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	if err := tunnel.CloseWrite(near); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
	if err := tunnel.CloseWrite(new(bytes.Buffer)); err != nil { // has no end at all
		t.Errorf("got %v", err)
	}
}

// bug is an end that runs into a mistake of ours.
type bug struct{ *end }

func (bug) Read([]byte) (int, error)  { panic("a bug in a read") }
func (bug) Write([]byte) (int, error) { panic("a bug in a write") }

func TestABugInEitherDirectionIsTheCallers(t *testing.T) {
	t.Parallel()
	for name, relay := range map[string]func(good, bad io.ReadWriteCloser){
		"upward":   func(good, bad io.ReadWriteCloser) { _, _ = tunnel.Relay(bad, good, 0, 0) },
		"downward": func(good, bad io.ReadWriteCloser) { _, _ = tunnel.Relay(good, bad, 0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, good := line()
			_, bad := line()
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "a bug in a read\n") || !strings.Contains(text, "bug.Read") {
					t.Errorf("got panic %q", text)
				}
			}()
			relay(good, bug{bad})
			t.Error("no panic")
		})
	}
}
