package peers_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/load"
	"github.com/outrigger-mesh/outrigger/bench/peers"
)

func newEnv(t *testing.T) *peers.Env {
	t.Helper()
	dir := t.TempDir()
	f, err := feed.New(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	l := peers.NewLauncher(dir)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &peers.Env{Dir: dir, Feed: f, Launcher: l, Ports: new(peers.Ports), Threads: 2}
}

// installed are the other proxies of this machine.
func installed(t *testing.T) []peers.Kind {
	t.Helper()
	var kinds []peers.Kind
	envoy := os.Getenv("OUTRIGGER_ENVOY")
	if envoy == "" {
		if out, err := exec.CommandContext(t.Context(), "../../scripts/envoy", "--have").Output(); err == nil {
			envoy = strings.TrimSpace(string(out))
		}
	}
	if envoy != "" {
		kinds = append(kinds, &peers.Envoy{Program: envoy})
	}
	if path, err := exec.LookPath("haproxy"); err == nil {
		kinds = append(kinds, &peers.HAProxy{Program: path})
	}
	if path, err := exec.LookPath("nginx"); err == nil {
		kinds = append(kinds, &peers.Nginx{Program: path})
	}
	return kinds
}

// A pair of each proxy that is installed carries requests of each protocol, with
// mutual TLS and the policy between its halves.
func TestInstalledProxiesTakeTheConfiguration(t *testing.T) {
	t.Parallel()
	kinds := installed(t)
	if len(kinds) == 0 {
		t.Skip("no other proxy is installed")
	}
	e := newEnv(t)
	backend, err := echo.Start(t.Context(), echo.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Close)
	for _, k := range kinds {
		for name, c := range map[string]struct {
			protocol feed.Protocol
			backend  echo.Kind
			shape    string
		}{
			"http1": {feed.HTTP1, echo.HTTP1, load.HTTP1}, "http2": {feed.HTTP2, echo.HTTP2, load.HTTP2},
			"grpc": {feed.HTTP2, echo.GRPC, load.GRPC}, "tcp": {feed.TCP, echo.TCP, load.TCP},
		} {
			t.Run(k.Name()+" "+name, func(t *testing.T) {
				t.Parallel()
				in := feed.Hop{Role: feed.Inbound, Protocol: c.protocol, TLS: true, Policy: c.protocol != feed.TCP, Upstream: int(backend.Addr(c.backend).Port())}
				if err := k.Supports(in); err != nil {
					t.Skip(err)
				}
				in.Listen = free(t, e)
				out := feed.Hop{Role: feed.Outbound, Protocol: c.protocol, TLS: true, Upstream: in.Listen, Listen: free(t, e)}
				start(t, e, k, name+"-server-"+k.Name(), in)
				start(t, e, k, name+"-client-"+k.Name(), out)
				carries(t, out.Listen, c.shape)
			})
		}
	}
}

func free(t *testing.T, e *peers.Env) int {
	t.Helper()
	port, err := e.Ports.Free(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func start(t *testing.T, e *peers.Env, k peers.Kind, name string, h feed.Hop) *peers.Process {
	t.Helper()
	p, err := peers.Start(t.Context(), e, k, &peers.Node{Name: name, Role: h.Role, Hops: []feed.Hop{h}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func carries(t *testing.T, port int, protocol string) {
	t.Helper()
	addr := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	target := load.Target{Addr: addr.AddrPort(), Host: feed.Host, Path: "/"}
	if protocol == load.GRPC || protocol == load.TCP {
		target.Body = make([]byte, 64)
	}
	if protocol == load.GRPC {
		target.Path = "/bench.Echo/Call"
	}
	res, err := load.Run(t.Context(), target, load.Shape{Protocol: protocol, Conns: 2, Requests: 50})
	if err = errors.Join(err, res.Err()); err != nil {
		t.Error(err)
	}
}

// script is a program that is no proxy.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // has to run
		t.Fatal(err)
	}
	return name
}

func TestProcessThatEndsEarlyIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	k := &peers.HAProxy{Program: script(t, "echo no licence; exit 1")}
	began := time.Now()
	_, err := peers.Start(t.Context(), e, k, &peers.Node{Name: "x", Hops: []feed.Hop{{Listen: free(t, e), Upstream: 1}}})
	if !errors.Is(err, peers.ErrEnded) || !strings.Contains(err.Error(), "no licence") {
		t.Errorf("got %v, want that it ended, with what it said", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestProxyThatNeverListensIsGivenUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	k := &peers.HAProxy{Program: script(t, "exec sleep 60")}
	n := &peers.Node{Name: "x", Hops: []feed.Hop{{Listen: free(t, e), Upstream: 1}}, Wait: 200 * time.Millisecond}
	if _, err := peers.Start(t.Context(), e, k, n); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the time was up", err)
	}
}

func TestCloseOfTheLauncherEndsWhatRuns(t *testing.T) {
	t.Parallel()
	l := peers.NewLauncher(t.TempDir())
	p, err := l.Start(peers.Command{Name: "x", Path: script(t, "exec sleep 60")})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("the process still runs")
	}
}

func TestPortsAreGivenOnce(t *testing.T) {
	t.Parallel()
	var p peers.Ports
	seen := make(map[int]bool)
	for range 200 {
		port, err := p.Free(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
}

func TestBootstrapNamesTheClustersThatIstiodNames(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(peers.Bootstrap("node", 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"xds-grpc"`, `"sds-grpc"`, `"DELTA_GRPC"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}
