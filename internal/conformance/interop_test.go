package conformance_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

// interopCases are those of grpc-go's client that need neither credentials nor
// load reports. It has none with compression.
func interopCases() []string {
	return []string{
		"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server",
		"cancel_after_begin", "cancel_after_first_response", "status_code_and_message", "special_status_message", "custom_metadata",
		"unimplemented_method", "unimplemented_service", "pick_first_unary", "rpc_soak", "channel_soak",
	}
}

func TestMeshGRPCInterop(t *testing.T) {
	dir := tools(t,
		build.Tool{Name: "client", Module: interopModule, Package: "google.golang.org/grpc/interop/client"},
		build.Tool{Name: "server", Module: interopModule, Package: "."},
	)
	mesh := hall(t)
	pods := mesh.Pods("caller", "interop")
	caller, server := pods[0], pods[1]
	replace(t, server, 8080, filepath.Join(dir, "server"), "-port=8080")
	second(t, server, 8081, filepath.Join(dir, "server"), "-port=8081")

	outside := mesh.PlainPod("outside")

	run := func(t *testing.T, port string) {
		for _, name := range interopCases() {
			t.Run(name, func(t *testing.T) { interop(t, caller, filepath.Join(dir, "client"), port, name) })
		}
	}
	t.Run("mutual TLS, declared port", func(t *testing.T) {
		requireTLS(t, mesh, outside, server.Addr().String()+":8080")
		run(t, "8080")
	})
	t.Run("mutual TLS, port without protocol", func(t *testing.T) { run(t, "8081") })
	leaveTLS(t, mesh, caller)
	t.Run("clear text, declared port", func(t *testing.T) { run(t, "8080") })
	t.Run("clear text, port without protocol", func(t *testing.T) { run(t, "8081") })
}

// interop runs one case of the client from a pod.
func interop(t *testing.T, pod *testmesh.Pod, client, port, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// A lost query to the mesh's name server costs a new channel the resolver's second.
	out, err := pod.Exec(ctx, 0, client, "-server_host=interop", "-server_port="+port, "-test_case="+name,
		"-soak_iterations=20", "-soak_overall_timeout_seconds=25", "-soak_per_iteration_max_acceptable_latency_ms=5000")
	if err != nil {
		t.Errorf("%.1000v\n%.500s", err, out)
	}
}

func TestInteropIsOfTheVersionThatTheProductUses(t *testing.T) {
	version := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), "google.golang.org/grpc v")
		v, _, _ := strings.Cut(after, "\n")
		return v
	}
	if got, want := version("interop/go.mod"), version("../../go.mod"); got != want || got == "" {
		t.Errorf("got %q, want %q", got, want)
	}
}
