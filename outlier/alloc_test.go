//go:build !race

package outlier_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/outlier"
)

func TestReportsDoNotAllocate(t *testing.T) {
	m := newTeam(t, 2, func(c *outlier.Config) { c.Split = true })
	if n := testing.AllocsPerRun(100, func() {
		m.monitors[0].Report(outlier.Connected, 0)
		m.monitors[0].Report(outlier.Answered, 200)
		m.monitors[0].Report(outlier.Answered, 503)
	}); n != 0 {
		t.Errorf("%v allocations per report", n)
	}
}

func BenchmarkReport(b *testing.B) {
	m := &team{}
	d := outlier.NewDetector(m)
	c := outlier.Defaults()
	d.Configure(&c)
	defer d.Stop()
	monitor := d.Monitor(nil)
	b.ReportAllocs()
	for b.Loop() {
		monitor.Report(outlier.Answered, 200)
	}
}
