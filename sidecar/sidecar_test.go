package sidecar_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/config"
	"github.com/outrigger-mesh/outrigger/sidecar"
)

// log is a buffer that several goroutines write to.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// alone is the configuration of a sidecar whose istiod is not there.
func alone(t *testing.T) *config.Config {
	t.Helper()
	missing := filepath.Join(t.TempDir(), "root-cert.pem")
	return &config.Config{
		Node: config.Node{
			Type: "sidecar", Pod: "p", Namespace: "n", ServiceAccount: "s", TrustDomain: "cluster.local", Domain: "n.svc.cluster.local",
			Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Metadata: map[string]any{},
		},
		Discovery: config.Discovery{Address: "127.0.0.1:1", ServerName: "istiod", RootFile: missing},
		CA:        config.CA{Address: "127.0.0.1:1", ServerName: "istiod", RootFile: missing, TTL: time.Hour, GraceRatio: 0.5},
		Drain:     config.Drain{Termination: 5 * time.Second, Chain: time.Second},
		Log:       config.Log{Level: "info"},
	}
}

func TestSidecarWithoutIstiodSaysSoAndEndsCleanly(t *testing.T) {
	before := runtime.NumGoroutine()
	out := new(log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sidecar.Run(ctx, alone(t), sidecar.Options{Version: "test", Log: out}) }()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "root"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing about the missing root certificate:\n%s", out)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("got %v, want an orderly end", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("does not end")
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cfg := alone(t)
	cfg.Ports.Admin = int(netip.MustParseAddrPort(l.Addr().String()).Port())
	err = sidecar.Run(t.Context(), cfg, sidecar.Options{Log: os.Stderr})
	if err == nil || !strings.Contains(err.Error(), "admin port") || !strings.Contains(err.Error(), "proxyAdminPort") {
		t.Errorf("got %v, want an error that names the port and what to set", err)
	}
}
