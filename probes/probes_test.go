package probes_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/leak"
	"github.com/outrigger-mesh/outrigger/probes"
)

// TestMain fails the package when a test leaves a goroutine behind.
func TestMain(m *testing.M) { leak.Main(m, http.DefaultClient.CloseIdleConnections) }

func holds() (bool, string) { return true, "" }

func get(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestReadinessNamesEveryMissingCondition(t *testing.T) {
	t.Parallel()
	var listeners atomic.Bool
	r := probes.NewReadiness(
		probes.Condition{Name: "certificate", Check: holds},
		probes.Condition{Name: "clusters", Check: func() (bool, string) { return listeners.Load(), "no CDS update yet; is istiod:15012 reachable?" }},
		probes.Condition{Name: "listeners", Check: func() (bool, string) { return listeners.Load(), "the first LDS push was rejected" }},
	)
	h := probes.ReadyHandler(r)
	w := get(h, "GET", "/healthz/ready")
	want := "not ready, 2 missing:\n- clusters: no CDS update yet; is istiod:15012 reachable?\n- listeners: the first LDS push was rejected\n"
	if w.Code != 503 || w.Body.String() != want {
		t.Errorf("got %d %q, want 503 %q", w.Code, w.Body, want)
	}
	listeners.Store(true)
	for _, path := range []string{"/healthz/ready", "/healthz/ready/deep"} {
		if w := get(h, "GET", path); w.Code != 200 {
			t.Errorf("%s: got %d %q, want 200", path, w.Code, w.Body)
		}
	}
	if w := get(h, "GET", "/other"); w.Code != 404 {
		t.Errorf("other path: got %d, want 404", w.Code)
	}
	if w := get(h, "POST", "/healthz/ready"); w.Code != 405 {
		t.Errorf("POST: got %d, want 405", w.Code)
	}
}

func TestOnceRemembersThatItHeld(t *testing.T) {
	t.Parallel()
	ok := false
	c := probes.Once(probes.Condition{Name: "clusters", Check: func() (bool, string) { return ok, "none" }})
	if got, why := c.Check(); got || why != "none" {
		t.Errorf("before: got %v %q", got, why)
	}
	ok = true
	c.Check()
	ok = false
	if got, _ := c.Check(); !got {
		t.Error("the condition was forgotten")
	}
}

func TestDrainAndFailMakeUnready(t *testing.T) {
	t.Parallel()
	r := probes.NewReadiness(probes.Condition{Name: "x", Check: holds})
	r.Fail(true)
	if w := get(r, "GET", "/"); w.Code != 503 || !strings.Contains(w.Body.String(), "healthcheck/ok") {
		t.Errorf("failed: got %d %q", w.Code, w.Body)
	}
	r.Fail(false)
	if w := get(r, "GET", "/"); w.Code != 200 {
		t.Errorf("restored: got %d %q", w.Code, w.Body)
	}
	r.Drain()
	if w := get(r, "GET", "/"); w.Code != 503 || !strings.Contains(w.Body.String(), "draining") {
		t.Errorf("draining: got %d %q", w.Code, w.Body)
	}
}

func start(t *testing.T, c probes.ServerConfig) (s *probes.Server, stop func()) {
	t.Helper()
	s, err := probes.Listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func loopback(port uint16) []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
}

// freePort finds a port that the kernel gives to nobody by itself: one of those
// could be taken before the server listens.
func freePort(t *testing.T) uint16 {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf(":%d", 20_000+rand.N(10_000))); err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).AddrPort().Port()
		}
	}
	t.Fatal(err)
	return 0
}

func TestServerAnswersOnBothFamiliesAndEnds(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	addrs := append(loopback(port), netip.AddrPortFrom(netip.IPv6Loopback(), port))
	s, stop := start(t, probes.ServerConfig{
		Name: "health", Addrs: addrs, Handler: probes.ReadyHandler(probes.NewReadiness()),
	})
	if len(s.Addrs()) == 0 {
		t.Fatal("no address in use")
	}
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for _, a := range s.Addrs() {
		res, err := client.Get("http://" + a.String() + "/healthz/ready")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 || string(body) != "ready\n" {
			t.Errorf("%v: got %d %q", a, res.StatusCode, body)
		}
	}
	stop()
	if c, err := net.DialTimeout("tcp", s.Addrs()[0].String(), time.Second); err == nil {
		_ = c.Close()
		t.Error("the port is still open after the end")
	}
}

func TestTakenPortSaysWhatToDo(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	port := netip.MustParseAddrPort(other.Addr().String()).Port()
	_, err = probes.Listen(t.Context(), probes.ServerConfig{
		Name: "health", Addrs: loopback(port), Hint: "choose another with the annotation status.sidecar.istio.io/port",
	})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want EADDRINUSE", err)
	}
	for _, want := range []string{"health port", strconv.FormatUint(uint64(port), 10), "taken by another process", "ss -ltnp", "annotation"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestMissingFamilyIsNoReasonToFail(t *testing.T) {
	t.Parallel()
	// 2001:db8::1 is no address of this machine, as [::] is none without IPv6.
	absent := netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 0)
	s, err := probes.Listen(t.Context(), probes.ServerConfig{Name: "health", Addrs: append(loopback(0), absent)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got := len(s.Addrs()); got != 1 {
		t.Errorf("got %d addresses, want 1", got)
	}
	if _, err := probes.Listen(t.Context(), probes.ServerConfig{Name: "health", Addrs: []netip.AddrPort{absent}}); err == nil {
		t.Error("no usable address: no error")
	}
}

func TestShutdownDoesNotWaitForStuckRequests(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	s, stop := start(t, probes.ServerConfig{
		Name: "stats", Addrs: loopback(0),
		Handler: probes.StatsHandler(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			close(entered)
			<-req.Context().Done()
		})),
	})
	c, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET /stats/prometheus HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("shutdown took %v", took)
	}
}

func TestOversizedHeadIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := start(t, probes.ServerConfig{
		Name: "health", Addrs: loopback(0), Handler: probes.ReadyHandler(probes.NewReadiness()),
	})
	c, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	go func() { // ends with the connection
		_, _ = io.WriteString(c, "GET /healthz/ready HTTP/1.1\r\nHost: x\r\nA: "+strings.Repeat("a", 64<<10)+"\r\n\r\n")
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d, want 431", res.StatusCode)
	}
}

func TestOldestConnectionMakesRoomForANewOne(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := probes.Evict(l, 2)
	defer func() { _ = e.Close() }()
	accepted := make(chan net.Conn, 3)
	go func() {
		for {
			c, err := e.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	var dialled []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		dialled = append(dialled, c)
		<-accepted
	}
	_ = dialled[0].SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := dialled[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest connection: got %v, want its end", err)
	}
	_ = dialled[2].SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := dialled[2].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the newest connection: got %v, want it open", err)
	}
}
