package load_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/bench/load"
)

// selfSigned returns what both sides of TLS need.
func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"backend"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{RootCAs: roots, ServerName: "backend"}
}

// backend starts echo servers; with TLS it returns what a caller needs.
func backend(t *testing.T, secure bool) (*echo.Servers, *tls.Config) {
	t.Helper()
	var config echo.Config
	var client *tls.Config
	if secure {
		config.TLS, client = selfSigned(t)
	}
	config.Header = [][2]string{{"x-backend", "echo"}}
	s, err := echo.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, client
}

// both runs a test in plain text and with TLS.
func both(t *testing.T, f func(t *testing.T, secure bool)) {
	t.Helper()
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			t.Parallel()
			f(t, secure)
		})
	}
}

var kinds = map[string]echo.Kind{load.HTTP1: echo.HTTP1, load.HTTP2: echo.HTTP2, load.GRPC: echo.GRPC, load.TCP: echo.TCP}

func TestEveryProtocolReachesTheBackend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		target load.Target
		shape  load.Shape
	}{
		{"http1", load.Target{Answer: 1024}, load.Shape{Protocol: load.HTTP1, Conns: 4}},
		{"http1 POST", load.Target{Body: make([]byte, 3000)}, load.Shape{Protocol: load.HTTP1, Conns: 2}},
		{"http1 1 MB", load.Target{Path: "/bytes/1048576", Answer: 1 << 20}, load.Shape{Protocol: load.HTTP1, Conns: 2}},
		{"http1 nothing", load.Target{Path: "/bytes/0"}, load.Shape{Protocol: load.HTTP1}},
		{"http2", load.Target{Answer: 1024, Header: [][2]string{{"X-More", "1"}}}, load.Shape{Protocol: load.HTTP2, Conns: 2, Streams: 8}},
		{"http2 POST", load.Target{Body: make([]byte, 30000)}, load.Shape{Protocol: load.HTTP2, Streams: 4}},
		{"http2 1 MB", load.Target{Path: "/bytes/1048576", Answer: 1 << 20}, load.Shape{Protocol: load.HTTP2, Streams: 4}},
		{"http2 nothing", load.Target{Path: "/bytes/0"}, load.Shape{Protocol: load.HTTP2}},
		{"grpc", load.Target{Body: []byte("message"), Answer: 12}, load.Shape{Protocol: load.GRPC, Conns: 2, Streams: 8}},
		{"grpc nothing", load.Target{}, load.Shape{Protocol: load.GRPC}},
		{"grpc long", load.Target{Body: make([]byte, 20000)}, load.Shape{Protocol: load.GRPC, Streams: 4}},
		{"tcp", load.Target{Body: []byte("message")}, load.Shape{Protocol: load.TCP, Conns: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, secure bool) {
				t.Helper()
				s, config := backend(t, secure)
				target, shape := tt.target, tt.shape
				target.Addr, target.Host, target.TLS = s.Addr(kinds[shape.Protocol]), "backend", config
				shape.Requests = 300
				if target.Answer >= 1<<20 {
					shape.Requests = 30
				}
				got, err := load.Run(t.Context(), target, shape)
				if err := errors.Join(err, got.Err()); err != nil {
					t.Fatal(err)
				}
				if n := shape.Requests; got.Requests != n || got.Latency.Count() != uint64(n) || got.Reconnects != 0 || got.Elapsed <= 0 {
					t.Errorf("got %d requests, %d latencies, %d reconnects in %v", got.Requests, got.Latency.Count(), got.Reconnects, got.Elapsed)
				}
			})
		})
	}
}

// TestGoServersAreUnderstood runs against another implementation.
func TestGoServersAreUnderstood(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{load.HTTP1, load.HTTP2} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(io.Discard, r.Body)
				w.Header().Set("X-Long", strings.Repeat("l", 20000)) // more than one frame
				if r.Proto == "HTTP/1.1" {
					w.(http.Flusher).Flush() // chunks
				}
				fmt.Fprintf(w, "%d of %s%s", n, r.Host, r.URL.Path)
			}))
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			t.Cleanup(s.Close)
			target := load.Target{Addr: addr(s.Listener), Host: "h", Path: "/p", Body: make([]byte, 100), Answer: int64(len("100 of h/p"))}
			streams := map[string]int{load.HTTP2: 4}[protocol]
			got, err := load.Run(t.Context(), target, load.Shape{Protocol: protocol, Conns: 2, Streams: streams, Requests: 100})
			if err := errors.Join(err, got.Err()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func addr(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

func TestWarmUpIsNotMeasured(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 2000} {
		s, _ := backend(t, false)
		var begun, ended atomic.Int32
		got, err := load.Run(t.Context(), load.Target{Addr: s.Addr(echo.HTTP1)}, load.Shape{
			Protocol: load.HTTP1, Conns: 2, Rate: rate, Warmup: 100 * time.Millisecond, Duration: 200 * time.Millisecond,
			Begin: func() { begun.Add(1) }, End: func() { ended.Add(1) },
		})
		if err := errors.Join(err, got.Err()); err != nil {
			t.Fatal(err)
		}
		if begun.Load() != 1 || ended.Load() != 1 || got.Elapsed < 150*time.Millisecond {
			t.Errorf("rate %v: begun %d times, ended %d, took %v", rate, begun.Load(), ended.Load(), got.Elapsed)
		}
		if rate > 0 && (got.Requests < 380 || got.Requests > 420) {
			t.Errorf("got %d requests in 200 ms at a rate of %v", got.Requests, rate)
		}
	}
}

func TestOpenLoopKeepsItsRateWithEveryProtocol(t *testing.T) {
	t.Parallel()
	for protocol, kind := range kinds {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s, _ := backend(t, false)
			shape := load.Shape{Protocol: protocol, Conns: 4, Rate: 1000, Requests: 300}
			got, err := load.Run(t.Context(), load.Target{Addr: s.Addr(kind), Body: []byte("m")}, shape)
			if err := errors.Join(err, got.Err()); err != nil {
				t.Fatal(err)
			}
			if got.Requests != 300 || got.Elapsed < 250*time.Millisecond {
				t.Errorf("got %d requests in %v", got.Requests, got.Elapsed)
			}
			if n := got.Lateness.Count(); n == 0 || n > 300 {
				t.Errorf("the generator measured its own lateness %d times", n)
			}
		})
	}
}

// TestAStallIsChargedToAllWhoWaited is what coordinated omission would hide: while the
// server says nothing for a while, requests become due, and all of them have waited.
func TestAStallIsChargedToAllWhoWaited(t *testing.T) {
	t.Parallel()
	const pause = 300 * time.Millisecond
	var served atomic.Int32
	target := server(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if served.Add(1) == 100 {
				timer := time.NewTimer(pause) // the server under test is slow on purpose
				<-timer.C
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
		}
	})
	got, err := load.Run(t.Context(), target, load.Shape{Protocol: load.HTTP1, Conns: 1, Rate: 1000, Requests: 500})
	if err := errors.Join(err, got.Err()); err != nil {
		t.Fatal(err)
	}
	if got := got.Latency.Quantile(0.7); got < pause/4 {
		t.Errorf("70 %% of requests took %v at most, but most were due in a pause of %v", got, pause)
	}
}

// server accepts connections and calls f for each.
func server(t *testing.T, f func(net.Conn)) load.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
	return load.Target{Addr: addr(l), Host: "h"}
}

// answering reads one request for each answer, sends it, and hangs up after the last.
func answering(answers ...string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		for _, a := range answers {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			fmt.Fprint(c, a)
		}
	}
}

func TestBrokenServersAreNoticed(t *testing.T) {
	t.Parallel()
	const good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
	for _, tt := range []struct{ name, answer, want string }{
		{"status", "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nok", "status 503"},
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nokk", "3 bytes instead of 2"},
		{"cut off", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", "connection lost"},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nok", "neither length nor chunks"},
		{"too much", good + "more", "nobody asked"},
		{"no HTTP", "220 mail.example ESMTP ready\r\n\r\n", "it begins with"},
		{"bad chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxx\r\n", "chunk size"},
		{"long chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n", "longer than its size"},
		{"silence before the end", "", "connection lost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := server(t, answering(tt.answer))
			target.Answer = 2
			got, err := load.Run(t.Context(), target, load.Shape{Protocol: load.HTTP1, Requests: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Err(); !errors.Is(err, load.ErrFailed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestAServerThatIsGoneEndsTheRun(t *testing.T) {
	t.Parallel()
	target := server(t, nil)
	target.Addr = netip.AddrPortFrom(target.Addr.Addr(), 1)
	if _, err := load.Run(t.Context(), target, load.Shape{Protocol: load.HTTP1, Requests: 1}); err == nil {
		t.Error("nobody listens, and nobody noticed")
	}
	hangsUp := server(t, func(net.Conn) {})
	got, err := load.Run(t.Context(), hangsUp, load.Shape{Protocol: load.HTTP1, Conns: 4, Duration: time.Minute})
	if err != nil || got.Err() == nil || got.Errors > 200 {
		t.Errorf("got %v, %d errors", err, got.Errors)
	}
}

func TestConnectionsThatCloseInOrderAreOpenedAgain(t *testing.T) {
	t.Parallel()
	const good, last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
	target := server(t, answering(good, good, last))
	got, err := load.Run(t.Context(), target, load.Shape{Protocol: load.HTTP1, Conns: 2, Requests: 60})
	if err := errors.Join(err, got.Err()); err != nil {
		t.Fatal(err)
	}
	if got.Requests != 60 || got.Reconnects < 18 {
		t.Errorf("got %d requests, %d reconnects", got.Requests, got.Reconnects)
	}
}

func TestASilentServerFailsRequests(t *testing.T) {
	t.Parallel()
	target := server(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	got, err := load.Run(t.Context(), target, load.Shape{Protocol: load.HTTP1, Conns: 3, Duration: time.Millisecond})
	if err != nil || got.Errors != 3 || got.Requests != 0 {
		t.Errorf("got %v, %d errors, %d requests; want 3 errors", err, got.Errors, got.Requests)
	}
}

func TestCancellationEndsARun(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 10, 1e6} {
		s, _ := backend(t, false)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := load.Run(ctx, load.Target{Addr: s.Addr(echo.HTTP2)}, load.Shape{Protocol: load.HTTP2, Rate: rate, Duration: time.Hour})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rate %v: got %v", rate, err)
		}
	}
}

func TestImpossibleShapesAreRefused(t *testing.T) {
	t.Parallel()
	second := time.Second
	for _, tt := range []struct {
		name   string
		target load.Target
		shape  load.Shape
	}{
		{"protocol", load.Target{}, load.Shape{Protocol: "http9", Duration: second}},
		{"streams of HTTP/1.1", load.Target{}, load.Shape{Protocol: load.HTTP1, Streams: 2, Duration: second}},
		{"no end", load.Target{}, load.Shape{Protocol: load.HTTP1}},
		{"two ends", load.Target{}, load.Shape{Protocol: load.HTTP1, Duration: second, Requests: 1}},
		{"no message", load.Target{}, load.Shape{Protocol: load.TCP, Requests: 1}},
		{"body", load.Target{Body: make([]byte, 1<<20)}, load.Shape{Protocol: load.HTTP2, Requests: 1}},
		{"HEAD", load.Target{Method: "HEAD"}, load.Shape{Protocol: load.HTTP1, Requests: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := load.Run(t.Context(), tt.target, tt.shape); !errors.Is(err, load.ErrShape) {
				t.Errorf("got %v", err)
			}
		})
	}
}
