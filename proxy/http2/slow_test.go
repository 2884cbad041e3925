package http2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/proxy/http2"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg/msgtest"
	"github.com/outrigger-mesh/outrigger/sock"
)

// overTLS is connect over a TLS session.
func overTLS(tb testing.TB, h httpmsg.Handler) *http2.ClientConn {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	near, far := msgtest.Pipe(tb)
	server := tls.Server(sock.Wrap(near), &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client := tls.Client(sock.Wrap(far), &tls.Config{InsecureSkipVerify: true})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = http2.NewServerConn(server, http2.ServerOptions{SchemeTLS: true}).Serve(h)
	}()
	c := http2.NewClientConn(client, http2.ClientOptions{})
	tb.Cleanup(func() {
		c.Close()
		bounded(tb, "the end of Serve", done)
	})
	return c
}

func TestOverTLS(t *testing.T) {
	up := overTLS(t, echo)
	down := overTLS(t, forward(up))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, want := range []string{"", "short", strings.Repeat("0123456789", 30000)} {
				a, err := do(t, down, post("/", want))
				if err != nil || a.body != want {
					t.Errorf("got %d bytes of %d, %v", len(a.body), len(want), err)
				}
			}
		})
	}
	all.Wait()
}

// endless counts what is read of it.
type endless struct {
	mu sync.Mutex
	n  int
}

func (e *endless) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n += len(p)
	return len(p), nil
}
func (e *endless) Buffered() int { return 64 << 10 }
func (e *endless) Close() error  { return nil }
func (e *endless) read() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// A downstream with large windows that does not read its socket holds up what is sent
// to it, and not our memory.
func TestASlowReaderHoldsUpItsResponses(t *testing.T) {
	body := &endless{}
	near, far := msgtest.Pipe(t)
	_ = near.SetWriteBuffer(64 << 10)
	_ = far.SetReadBuffer(64 << 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = http2.NewServerConn(near, http2.ServerOptions{}).Serve(handlerFunc(func(w httpmsg.ResponseWriter, _ *httpmsg.Request) {
			_, _ = w.WriteResponse(&httpmsg.Response{Status: 200, Body: body, ContentLength: httpmsg.Unknown})
		}))
	}()
	p := newPeer(t, far)
	_, _ = io.WriteString(far, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = p.WriteWindowUpdate(0, 1<<30)
	p.request(1, true)
	last := -1
	eventually(t, "a standstill", func() bool {
		time.Sleep(50 * time.Millisecond)
		was := last
		last = body.read()
		return last > 0 && last == was
	})
	if last > 2<<20 {
		t.Errorf("%d bytes were read", last)
	}
	far.Close()
	bounded(t, "the end of Serve", done)
}

// A connection that is not a socket is written by a goroutine of its own.
func TestOverAPipe(t *testing.T) {
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = http2.NewServerConn(near, http2.ServerOptions{}).Serve(echo)
	}()
	c := http2.NewClientConn(far, http2.ClientOptions{})
	if a := mustDo(t, c, post("/", "hello")); a.body != "hello" {
		t.Errorf("got %+v", a)
	}
	c.Close()
	bounded(t, "the end of Serve", done)
}
