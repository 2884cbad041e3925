package http1_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
)

// secured is a TLS session over loopback TCP.
func secured(tb testing.TB) (server, client *tls.Conn) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	a, b := msgtest.Pipe(tb)
	server = tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client = tls.Client(http1.Beneath(b), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test of bytes, not of trust
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		tb.Fatal(err)
	}
	if err := <-shaken; err != nil {
		tb.Fatal(err)
	}
	return server, client
}

func TestProxyOverTLS(t *testing.T) {
	t.Parallel()
	server, down := secured(t)
	far, near := secured(t) // our own end is the TLS client: session tickets arrive
	f := newForwarder(near)
	done := make(chan error, 1)
	go func() { done <- http1.NewServerConn(server, http1.ServerOptions{SchemeTLS: true}).Serve(f) }()
	for i := range 4 {
		send(t, down, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
		expect(t, far, "GET /1 HTTP/1.1\r\nhost: h\r\n\r\n")
		if i%2 == 1 {
			time.Sleep(70 * time.Millisecond) // the watcher reads, and is interrupted
		}
		send(t, far, okResponse)
		expect(t, down, okResponse)
	}
	send(t, down, "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
	expect(t, far, "GET /2 HTTP/1.1\r\nhost: h\r\n\r\n")
	_ = down.Close()
	<-done
	if f.err == nil || f.up.Reusable() {
		t.Errorf("got %v, want that the downstream left", f.err)
	}
}

func TestAliveUnderTLS(t *testing.T) {
	t.Parallel()
	far, near := secured(t)
	c := http1.NewClientConn(near, http1.ClientOptions{})
	if !c.Alive() {
		t.Error("not alive although only a session ticket arrived")
	}
	_ = far.NetConn().(*net.TCPConn).SetLinger(0)
	_ = far.NetConn().Close()
	waitFor(t, func() bool { return !c.Alive() })
}

func TestAliveSeesTheEndAndUnaskedBytes(t *testing.T) {
	t.Parallel()
	c, up := upstream(t)
	if !c.Alive() || !c.Reusable() {
		t.Error("a new connection is not alive")
	}
	send(t, up, "x")
	waitFor(t, func() bool { return !c.Alive() })
	c, up = upstream(t)
	_ = up.Close()
	waitFor(t, func() bool { return !c.Alive() })
}

func TestUnaskedBytesUnderTLSEndReuse(t *testing.T) {
	t.Parallel()
	const poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nPOISON"
	const longHead = "HTTP/1.1 200 OK\r\ncontent-length: 12000\r\n\r\n"
	long := strings.Repeat("a", 12000)
	tests := map[string]struct {
		head, rest string // two records
		body       int
	}{
		"a response in a record of its own":      {okResponse, poison, 2},
		"content after a response without":       {"HTTP/1.1 204 No Content\r\n\r\n", poison, 0},
		"a response in the record of the body":   {longHead, long + poison, len(long)},
		"a byte in the record of the body":       {longHead, long + "\n", len(long)},
		"a response in the record of everything": {longHead + long + poison, "", len(long)},
		"content after the last chunk":           {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "2\r\nok\r\n0\r\n\r\n" + poison, 2},
		"the end of the session":                 {okResponse, "", 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far, near := secured(t)
			c := http1.NewClientConn(near, http1.ClientOptions{})
			send(t, far, tt.head)
			res, err := c.RoundTrip(get(), time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if tt.rest == "" {
				_ = far.CloseWrite()
			} else {
				send(t, far, tt.rest)
			}
			got := 0
			for b := make([]byte, 32<<10); err == nil; {
				var n int
				n, err = res.Body.Read(b)
				got += n
			}
			if !errors.Is(err, io.EOF) || got != tt.body {
				t.Fatalf("got %d bytes of the body, %v; want %d", got, err, tt.body)
			}
			waitFor(t, func() bool { return !c.Reusable() || !c.Alive() })
		})
	}
}

func TestSessionTicketsDoNotEndReuse(t *testing.T) {
	t.Parallel()
	far, near := secured(t)
	c := http1.NewClientConn(near, http1.ClientOptions{})
	defer c.Close()
	for i := range 4 {
		if !c.Alive() {
			t.Fatalf("not alive before exchange %d", i)
		}
		send(t, far, okResponse)
		res, err := c.RoundTrip(get(), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "ok" {
			t.Fatalf("got %q, %v", b, err)
		}
		if !c.Reusable() {
			t.Fatalf("not reusable after exchange %d", i)
		}
		c.Release()
	}
}

func TestGarbageOnAnIdleSessionEndsReuse(t *testing.T) {
	t.Parallel()
	far, near := secured(t)
	c := http1.NewClientConn(near, http1.ClientOptions{})
	if !c.Alive() {
		t.Fatal("not alive from the start")
	}
	send(t, far.NetConn(), "\x17\x03\x03\x00\x14"+strings.Repeat("x", 20))
	waitFor(t, func() bool { return !c.Alive() })
	if c.Alive() {
		t.Error("alive again")
	}
}

func TestSessionOnAPlainSocketIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	far, near := msgtest.Pipe(t)
	if c := http1.NewClientConn(tls.Client(near, &tls.Config{ServerName: "h"}), http1.ClientOptions{}); c.Alive() {
		t.Error("alive although nobody can say")
	}
	_ = far.Close()
}

func BenchmarkAliveUnderTLS(b *testing.B) {
	_, near := secured(b)
	c := http1.NewClientConn(near, http1.ClientOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if !c.Alive() {
			b.Fatal("not alive")
		}
	}
}
