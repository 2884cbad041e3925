package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

func TestAConnectionMaySurviveABadRequest(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		spec := proxy.HTTPSpec{Path: proxy.PathSpec{EscapedSlashes: proxy.SlashesReject}, HTTP1: proxy.HTTP1Spec{KeepInvalid: keep}}
		g := httpRig(t, spec, to(cluster(t, nil, script(t, answer(hello)))))
		c := g.dial()
		r := bufio.NewReader(c)
		_, _ = io.WriteString(c, "GET /a%2fb HTTP/1.1\r\nhost: a\r\n\r\n")
		if resp := readResponse(t, r, "GET"); resp.StatusCode != 400 || resp.Close == keep {
			t.Errorf("keep %t: got %d, close %t", keep, resp.StatusCode, resp.Close)
		}
		if keep {
			_, _ = io.WriteString(c, "GET /b HTTP/1.1\r\nhost: a\r\n\r\n")
			if resp := readResponse(t, r, "GET"); resp.StatusCode != 200 {
				t.Errorf("the next request got %d", resp.StatusCode)
			}
			_, _ = io.WriteString(c, "GET  HTTP/1.1\r\nhost: a\r\n\r\nGET /c HTTP/1.1\r\nhost: a\r\n\r\n")
			if resp := readResponse(t, r, "GET"); resp.StatusCode != 400 || !resp.Close {
				t.Errorf("a request without an end: got %d, close %t", resp.StatusCode, resp.Close)
			}
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("keep %t: got %q after the end", keep, rest)
		}
	}
}

func TestReasonPhrasesPassWhereConfigured(t *testing.T) {
	t.Parallel()
	for forward, want := range map[bool]string{false: "200 OK", true: "200 Quite Well"} {
		origin := cluster(t, func(s *upstream.Spec) { s.HTTP.HTTP1.ForwardReason = forward }, script(t, answer(strings.Replace(hello, "OK", "Quite Well", 1))))
		if resp := httpRig(t, proxy.HTTPSpec{}, to(origin)).ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); resp.Status != want {
			t.Errorf("forwarded %t: got %q, want %q", forward, resp.Status, want)
		}
	}
}

func TestAClusterBoundsItsExchanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		retry      *proxy.Retry
		status     int
		tries      int
		flags      string
	}{
		{"before the head", "", nil, 504, 1, "UMSDR"},
		{"before the head, tried again", "", &proxy.Retry{On: proxy.RetryOnReset, Max: 1}, 504, 2, "URX,UMSDR"},
		{"within the body", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", nil, 200, 1, "UMSDR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rule := to(cluster(t, func(s *upstream.Spec) { s.HTTP.MaxStream = patience }, script(t, func(_ int, c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(c, tt.text)
					_, _ = io.Copy(io.Discard, r)
				}
			})))
			rule.Retry = tt.retry
			g := httpRig(t, proxy.HTTPSpec{}, rule)
			c := g.dial()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != tt.status {
				t.Fatalf("got %v, %v", resp, err)
			}
			b, err := io.ReadAll(resp.Body)
			if tt.status == 408 && string(b) != "upstream max stream duration reached" || tt.status == 200 && err == nil {
				t.Errorf("got %q, %v", b, err)
			}
			rec := g.records.next(t)
			if rec.flags != tt.flags || rec.details != "upstream_max_stream_duration_reached" || rec.Upstream.Attempts != tt.tries {
				t.Errorf("recorded %s %s, %d attempts", rec.flags, rec.details, rec.Upstream.Attempts)
			}
		})
	}
}
