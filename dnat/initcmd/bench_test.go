package initcmd_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat/initcmd"
)

// BenchmarkRun measures the whole command in a pod's namespace with both families: the first run, one that finds
// everything in place, and one that swaps.
func BenchmarkRun(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root to create network namespaces")
	}
	for _, backend := range backends {
		if _, err := exec.LookPath(backend.tool); backend.tool != "" && err != nil {
			continue
		}
		run := func(b *testing.B, m *mesh, args ...string) {
			b.Helper()
			var out bytes.Buffer
			args = append([]string{"--network-namespace", m.pod.path(), backend.flag}, args...)
			if code := initcmd.Run(b.Context(), args, os.Environ(), &out, &out); code != 0 {
				b.Fatalf("exit code %d: %s", code, out.String())
			}
		}
		b.Run(backend.name+"/first", func(b *testing.B) {
			m := newMesh(b)
			for b.Loop() {
				b.StopTimer()
				run(b, m, "--cleanup-only")
				b.StartTimer()
				run(b, m, sidecarArgs...)
			}
		})
		b.Run(backend.name+"/again", func(b *testing.B) {
			m := newMesh(b)
			run(b, m, sidecarArgs...)
			for b.Loop() {
				run(b, m, sidecarArgs...)
			}
		})
		b.Run(backend.name+"/swap", func(b *testing.B) {
			m := newMesh(b)
			for b.Loop() {
				run(b, m, append(sidecarArgs, "--force-apply")...)
			}
		})
	}
}
