package http2

import (
	"testing"
	"time"
)

func TestPingsAreSpread(t *testing.T) {
	t.Parallel()
	for jitter, most := range map[uint32]time.Duration{0: 0, 15: 150 * time.Millisecond, 100: time.Second, 400: time.Second} {
		k := KeepAlive{Interval: time.Second, Jitter: jitter}
		seen := make(map[int64]bool)
		for range 100 {
			n := k.next()
			seen[n] = true
			if d := time.Duration(n) - k.Interval; d < 0 || d > most {
				t.Errorf("jitter %d: %v more than the interval", jitter, d)
			}
		}
		if spread := len(seen) > 1; spread != (jitter > 0) {
			t.Errorf("jitter %d: %d different intervals", jitter, len(seen))
		}
	}
}
