package metrics

import (
	"bytes"
	"math"
	"os"
	"runtime"
	rtmetrics "runtime/metrics"
	"strconv"
	"time"
)

// Certificate is what the expiry metrics need of a certificate.
type Certificate struct {
	// Name is the secret's name, such as "default".
	Name     string
	NotAfter time.Time
}

// Server is what the process says of itself.
type Server struct {
	Start time.Time
	// State is Envoy's server state: 0 live, 1 draining, 2 pre-initializing,
	// 3 initializing. Nil means live.
	State func() int
	// Certificates lists those in use; nil means none.
	Certificates func() []Certificate
}

// Names of the runtime's own measurements.
const (
	heapInUse = "/memory/classes/heap/objects:bytes"
	allMemory = "/memory/classes/total:bytes"
	released  = "/memory/classes/heap/released:bytes"
)

// Emit is a Source.
func (s Server) Emit(emit Emit) {
	gauge := func(name string, v float64) { emit(name, nil, v, Gauge) }
	state := 0
	if s.State != nil {
		state = s.State()
	}
	gauge("server.uptime", math.Floor(time.Since(s.Start).Seconds()))
	gauge("server.state", float64(state))
	gauge("server.live", boolean(state == 0))
	gauge("server.concurrency", float64(runtime.GOMAXPROCS(0)))
	gauge("server.goroutines", float64(runtime.NumGoroutine()))

	samples := []rtmetrics.Sample{{Name: heapInUse}, {Name: allMemory}, {Name: released}}
	rtmetrics.Read(samples)
	gauge("server.memory_allocated", float64(samples[0].Value.Uint64()))
	gauge("server.memory_heap_size", float64(samples[1].Value.Uint64()-samples[2].Value.Uint64()))
	if rss, ok := residentBytes(); ok {
		gauge("server.memory_physical_size", float64(rss))
	}
	s.emitCertificates(emit)
}

func (s Server) emitCertificates(emit Emit) {
	if s.Certificates == nil {
		return
	}
	first := math.Inf(1)
	for _, c := range s.Certificates() {
		left := time.Until(c.NotAfter).Seconds()
		first = min(first, left)
		emit("istio_agent_cert_expiry_seconds", []Label{{"resource_name", c.Name}}, math.Floor(left), Gauge)
	}
	if !math.IsInf(first, 1) {
		emit("server.days_until_first_cert_expiring", nil, math.Floor(max(first, 0)/86400), Gauge)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// residentBytes reads the process's resident set from the kernel.
func residentBytes() (uint64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0, false
	}
	return pages * uint64(os.Getpagesize()), true //nolint:gosec // a page size is positive
}
