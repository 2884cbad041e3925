package http1_test

import (
	"testing"
	"time"
)

func TestUpstreamsAnnounceHowLongTheyWait(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]time.Duration{
		"":                                         0,
		"Keep-Alive: timeout=5\r\n":                5 * time.Second,
		"keep-alive: max=100, Timeout = 7\r\n":     7 * time.Second,
		"keep-alive: timeout=5, max=1000\r\n":      5 * time.Second,
		"keep-alive: 300\r\n":                      0,
		"keep-alive: timeout=-1\r\n":               0,
		"keep-alive: timeout=\r\n":                 0,
		"keep-alive: timeout=99999999999\r\n":      24 * time.Hour,
		"keep-alive: timeouts=5\r\nx: y\r\n":       0,
		"keep-alive: timeout=0\r\n":                0,
		"keep-alive: timeout=1e3\r\n":              0,
		"keep-alive: timeout=99999999999999999999": 0,
	} {
		if want == 0 && field != "" && field[len(field)-1] != '\n' {
			field += "\r\n"
		}
		c, up := upstream(t)
		script(t, up, "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 204 No Content\r\n"+field+"\r\n", false)
		if _, err := c.RoundTrip(get(), time.Now().Add(5*time.Second)); err != nil {
			t.Fatal(err)
		}
		if got := c.Patience(); got != want {
			t.Errorf("%q: got %v, want %v", field, got, want)
		}
	}
}
