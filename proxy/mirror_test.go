package proxy_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// seenBy is an upstream that tells what it was asked, bodies included.
func seenBy(t *testing.T) (addr string, asked chan string) {
	t.Helper()
	asked = make(chan string, 64)
	return script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				asked <- "cut"
				return
			}
			asked <- req.Method + " " + req.Host + " " + string(body)
			if _, err := io.WriteString(c, hello); err != nil {
				return
			}
		}
	}), asked
}

// mirrorRig serves a rule with mirrors.
func mirrorRig(t *testing.T, main *upstream.Cluster, mirrors ...proxy.Mirror) (*rig, *proxy.Mirrors) {
	t.Helper()
	ms := proxy.NewMirrors(netip.MustParseAddr("10.0.0.1"), slog.New(slog.DiscardHandler))
	t.Cleanup(ms.Close)
	rule := to(main)
	rule.Mirrors = mirrors
	return httpRig(t, proxy.HTTPSpec{Mirrors: ms}, rule), ms
}

func all(c *upstream.Cluster) proxy.Mirror {
	return proxy.Mirror{Cluster: c, Numerator: 1, Denominator: 1}
}

func awaited(t *testing.T, asked chan string) string {
	t.Helper()
	select {
	case got := <-asked:
		return got
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came within 10 s")
		return ""
	}
}

func TestMirrorsGetCopies(t *testing.T) {
	t.Parallel()
	main, first := seenBy(t)
	copyTo, second := seenBy(t)
	g, _ := mirrorRig(t, cluster(t, nil, main), all(cluster(t, nil, copyTo)), proxy.Mirror{Cluster: cluster(t, nil, copyTo), Denominator: 100})
	for _, send := range []string{"POST / HTTP/1.1\r\nhost: a:80\r\ncontent-length: 3\r\n\r\nabc", "POST / HTTP/1.1\r\nhost: a:80\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
		if resp := g.ask(send); resp.StatusCode != 200 {
			t.Errorf("got %d", resp.StatusCode)
		}
		if got := awaited(t, first); got != "POST a:80 abc" {
			t.Errorf("the upstream got %q", got)
		}
		if got := awaited(t, second); got != "POST a-shadow:80 abc" {
			t.Errorf("the mirror got %q", got)
		}
	}
}

func TestSlowMirrorsAreGivenUp(t *testing.T) {
	t.Parallel()
	main, first := seenBy(t)
	deaf := script(t, func(_ int, c net.Conn, _ *bufio.Reader) {
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		time.Sleep(2 * time.Second)
	})
	small := func(s *upstream.Spec) { s.ConnectTimeout = time.Second }
	g, ms := mirrorRig(t, cluster(t, nil, main), all(cluster(t, small, deaf)), all(cluster(t, nil, closedPort(t))), proxy.Mirror{Numerator: 1, Denominator: 1})
	const size = 16 << 20
	began := time.Now()
	resp := g.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("x", size))
	if resp.StatusCode != 200 || len(awaited(t, first)) < size {
		t.Errorf("got %d", resp.StatusCode)
	}
	if took := time.Since(began); took > 1900*time.Millisecond {
		t.Errorf("the request took %v: it waited for its mirror", took)
	}
	if n := ms.Dropped(); n == 0 {
		t.Error("no copy was given up")
	}
}

func TestMirrorsEndWithTheirOwner(t *testing.T) {
	t.Parallel()
	main, _ := seenBy(t)
	asked := make(chan struct{})
	silent := script(t, func(_ int, _ net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			close(asked)
		}
		_, _ = io.Copy(io.Discard, r)
	})
	g, ms := mirrorRig(t, cluster(t, nil, main), all(cluster(t, nil, silent)))
	if resp := g.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	<-asked
	ended := make(chan struct{})
	go func() {
		ms.Close()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("a copy goes on")
	}
	if resp := g.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("after the end: got %d", resp.StatusCode)
	}
}
