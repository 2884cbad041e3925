//go:build !race

package accesslog_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
)

func TestAppendDoesNotAllocate(t *testing.T) {
	text := mustText(t, accesslog.IstioTextFormat)
	object, err := accesslog.ParseJSON(jsonFields(), accesslog.Environment{}, false)
	if err != nil {
		t.Fatal(err)
	}
	hostile := outboundHTTP()
	hostile.Request.Head = head{"user-agent", "a\r\nb\""}
	dst := make([]byte, 0, 4096)
	for name, f := range map[string]*accesslog.Format{"text": text, "json": object} {
		for _, r := range []*flow.Record{outboundHTTP(), inboundMTLS(), refused(), tcp(), hostile} {
			if n := testing.AllocsPerRun(100, func() { dst = f.Append(dst[:0], r) }); n != 0 {
				t.Errorf("%s: %v allocations per line, want 0", name, n)
			}
		}
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	log := newLog(t, accesslog.NewOutputs(accesslog.OutputsConfig{Queue: 4096}), t.TempDir()+"/log")
	r := outboundHTTP()
	for range 50 { // fill the queue: afterwards lines are dropped
		log.Observe(r)
	}
	if n := testing.AllocsPerRun(100, func() { log.Observe(r) }); n != 0 {
		t.Errorf("%v allocations per record, want 0", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	f, err := accesslog.ParseText(accesslog.IstioTextFormat, accesslog.Environment{}, false)
	if err != nil {
		b.Fatal(err)
	}
	r, dst := outboundHTTP(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = f.Append(dst[:0], r)
	}
}
