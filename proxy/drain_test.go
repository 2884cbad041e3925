package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy"
)

func TestDrainClosesIdleKeepAliveConnectionsSoon(t *testing.T) {
	t.Parallel()
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, script(t, answer(hello)))))
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	if resp := readResponse(t, r, "GET"); resp.Close {
		t.Error("connection: close without a drain")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := g.listeners.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("idle connection: %v", err)
	}
	if _, err := net.Dial("tcp", g.addr); err == nil {
		t.Error("a drained listener accepts")
	}
}

func TestDrainAnswersARequestThatCrossesIt(t *testing.T) {
	t.Parallel()
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, script(t, answer(hello)))))
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	readResponse(t, r, "GET")
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		drained <- g.listeners.Drain(ctx)
	}()
	poll(t, "draining", g.listeners.Draining)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	if resp := readResponse(t, r, "GET"); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("got %d, close %v; want 200 and the connection's end", resp.StatusCode, resp.Close)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestDrainLetsAnExchangeEndAndSaysClose(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			close(asked)
			<-release
			_, _ = io.WriteString(c, hello)
		}
	})
	g := httpRig(t, proxy.HTTPSpec{}, to(cluster(t, nil, addr)))
	c := g.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	<-asked
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		drained <- g.listeners.Drain(ctx)
	}()
	poll(t, "draining", g.listeners.Draining)
	close(release)
	resp := readResponse(t, bufio.NewReader(c), "GET")
	if resp.StatusCode != 200 || !resp.Close {
		t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestDrainCutsWhatIsLeftAtItsDeadline(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	g := tcpRig(t, nil, addr)
	c := g.dial()
	_, _ = io.WriteString(c, "x")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.listeners.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
	if r := g.records.next(t); r.Request.Bytes != 1 || r.Response.Bytes != 1 || r.Termination != "local_close" {
		t.Errorf("record %+v", r.Record)
	}
}

func TestDrainClosesConnectionsThatNeverSpoke(t *testing.T) {
	t.Parallel()
	spec := &proxy.ListenerSpec{Name: "l", Address: loopback, Chains: chains(t, &proxy.Chain{Handler: say("served")}), Inspect: proxy.Inspect{TLS: true}}
	g := newRigSpec(t, spec, newRecords())
	c := g.dial()
	poll(t, "the connection is there", func() bool { return g.listener.Active() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := g.listeners.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it was served")
	}
}
