package http1_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/proxy/http1"
)

// secured is a TLS session over loopback TCP.
func secured(t *testing.T) (server, client *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := pipe(t)
	server = tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client = tls.Client(b, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test of bytes, not of trust
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
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
