package http1

import "testing"

func TestScansStopAtEachByteThatMayNotStand(t *testing.T) {
	for size := range 20 {
		for at := range size {
			for c := range 256 {
				for _, filler := range []byte{'a', ' ', '\t', '~', 0x80, 0xff} {
					b := make([]byte, size)
					for i := range b {
						b[i] = filler
					}
					b[at] = byte(c)
					checkScan(t, b, scanValue(b, 0), func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
					checkScan(t, b, scanTarget(b, 0), func(c byte) bool { return c > ' ' && c < 0x7f })
				}
			}
		}
	}
}

func checkScan(t *testing.T, b []byte, got int, ok func(byte) bool) {
	t.Helper()
	want := 0
	for want < len(b) && ok(b[want]) {
		want++
	}
	if got != want {
		t.Fatalf("scan of %q stops at %d, want %d", b, got, want)
	}
}
