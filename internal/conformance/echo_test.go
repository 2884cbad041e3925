package conformance_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

// echoCase is a call of Istio's echo client.
type echoCase struct {
	name string
	url  string
	args []string
	want string // what the server says of each call
}

// echoCases are the protocols over declared ports and over ports without one.
func echoCases() []echoCase {
	insecure := []string{"--insecure-skip-verify"}
	const (
		h1   = "Proto=HTTP/1.1"
		h2   = "Proto=HTTP/2.0"
		grpc = "Proto=GRPC"
		tcp  = "Proto=TCP"
		said = "HelloWorldStatusCode=200" // on a WebSocket
	)
	return []echoCase{
		{"HTTP/1.1", "http://echo:80/", nil, h1},
		{"HTTP/1.1, new connections", "http://echo:80/", []string{"--new-connection-per-request"}, h1},
		{"HTTP/1.1, auto", "http://echo:82/", nil, h1},
		{"HTTP/1.1 to a port of HTTP/2", "http://echo:81/", nil, h2},
		{"POST", "http://echo:80/", []string{"--method=POST"}, h1},
		{"HTTP/2", "http://echo:81/", []string{"--http2"}, h2},
		{"HTTP/2 to a port of HTTP/1.1", "http://echo:80/", []string{"--http2"}, h1},
		{"HTTP/2, auto", "http://echo:82/", []string{"--http2"}, h2},
		{"gRPC", "grpc://echo:7070", nil, grpc},
		{"gRPC, auto", "grpc://echo:7071", nil, grpc},
		{"WebSocket", "ws://echo:80/", nil, said},
		{"WebSocket, auto", "ws://echo:82/", nil, said},
		{"TCP", "tcp://echo:9090", nil, tcp},
		{"TCP, auto", "tcp://echo:9091", nil, tcp},
		{"TCP, server first", "tcp://echo:9092", []string{"--server-first"}, tcp},
		{"TCP, server first, auto", "tcp://echo:9093", []string{"--server-first"}, tcp},
		{"TLS passthrough, HTTP/1.1", "https://echo:443/", insecure, h1},
		{"TLS passthrough, HTTP/2", "https://echo:443/", []string{"--insecure-skip-verify", "--http2"}, h2},
		{"TLS passthrough, TLS port", "https://echo:444/", insecure, h1},
		{"TLS passthrough, auto", "https://echo:445/", insecure, h1},
	}
}

func TestMeshIstioEcho(t *testing.T) {
	dir := tools(t,
		build.Tool{Name: "echo-client", Module: istioModule, Package: "istio.io/istio/pkg/test/echo/cmd/client"},
		build.Tool{Name: "echo-server", Module: istioModule, Package: "istio.io/istio/pkg/test/echo/cmd/server"},
	)
	mesh := hall(t)
	pods := mesh.Pods("caller", "echo")
	caller, server := pods[0], pods[1]
	outside := mesh.PlainPod("outside")
	cert, key := certificate(t, mesh, "spiffe://cluster.local/ns/hall/sa/self-made")
	replace(t, server, 9092, filepath.Join(dir, "echo-server"),
		"--port=8080,8081,8082,8443,8444,8445", "--grpc=7070,7071", "--tcp=9090,9091,9092,9093", "--server-first=9092,9093",
		"--tls=8443,8444,8445", "--crt="+cert, "--key="+key, "--version=v1")

	run := func(t *testing.T) {
		for _, c := range echoCases() {
			t.Run(c.name, func(t *testing.T) { echo(t, caller, filepath.Join(dir, "echo-client"), &c) })
		}
	}
	t.Run("PERMISSIVE", run)
	t.Run("STRICT", func(t *testing.T) {
		requireTLS(t, mesh, outside, server.Addr().String()+":8080")
		run(t)
	})
	leaveTLS(t, mesh, caller)
	t.Run("clear text", run)
}

// echo calls the server three times by one run of the client.
func echo(t *testing.T, pod *testmesh.Pod, client string, c *echoCase) {
	t.Helper()
	const count = 3
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	argv := append([]string{client, c.url, fmt.Sprintf("--count=%d", count), "--timeout=5s"}, c.args...)
	out, err := pod.Exec(ctx, 0, argv...)
	if err != nil {
		t.Fatalf("%.1500v\n%.1000s", err, out)
	}
	for i := range count {
		if !strings.Contains(out, fmt.Sprintf("[%d body] %s\n", i, c.want)) {
			t.Fatalf("response %d lacks %q:\n%s", i, c.want, out)
		}
	}
}
