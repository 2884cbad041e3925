package http1_test

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

type (
	handlerFunc = msgtest.HandlerFunc
	content     = msgtest.Content
)

// serve runs a ServerConn and returns the downstream's end; the error of Serve is
// checked to come in bounded time at the end of the test.
func serve(tb testing.TB, o http1.ServerOptions, h httpmsg.Handler) (*net.TCPConn, <-chan error) {
	tb.Helper()
	server, client := msgtest.Pipe(tb)
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		result <- http1.NewServerConn(server, o).Serve(h)
		close(done)
	}()
	tb.Cleanup(func() {
		client.Close()
		select {
		case <-done:
		case <-time.After(time.Minute):
			tb.Error("Serve did not return")
		}
	})
	return client, result
}

func send(tb testing.TB, c net.Conn, s string) {
	tb.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		tb.Fatalf("write: %v", err)
	}
}

// all reads until the end of the stream.
func all(tb testing.TB, c net.Conn) string {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		tb.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// expect reads as many bytes as want has and compares.
func expect(tb testing.TB, c net.Conn, want string) {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, len(want))
	n, err := io.ReadFull(c, b)
	if got := string(b[:n]); got != want {
		tb.Fatalf("got  %q, %v\nwant %q", got, err, want)
	}
}

// seen describes a request in one line.
func seen(r *httpmsg.Request) string {
	var b strings.Builder
	b.WriteString(r.Method + " " + r.Scheme + " " + r.Authority + " " + r.Path)
	for _, f := range r.Header.Fields {
		b.WriteString(" [" + f.Name + ": " + f.Value + "]")
	}
	if r.Upgrade != "" {
		b.WriteString(" upgrade=" + r.Upgrade)
	}
	if r.Body != httpmsg.NoBody {
		body, err := io.ReadAll(r.Body)
		b.WriteString(" body=" + string(body))
		if err != nil {
			b.WriteString(" error=" + err.Error())
		}
	}
	return b.String()
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
