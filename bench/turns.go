package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/load"
	"github.com/outrigger-mesh/outrigger/bench/proc"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

const (
	answerSize = 1 << 10
	mb         = 1 << 20
	// warmShare of a round's work is sent before the first.
	warmShare = 8
	// lateNote is by how much the generator may miss its times.
	lateNote = time.Millisecond
	// leastWork is what even the smallest scale sends.
	leastWork = 64
)

// work scales what a round does: a quick run takes half.
func (r *runner) work(full int, warm bool) int {
	n := float64(full) * r.Scale
	if r.Quick {
		n /= 2
	}
	if warm {
		n /= warmShare
	}
	return max(int(n), leastWork)
}

// span scales how long a round lasts.
func (r *runner) span(full time.Duration, warm bool) time.Duration {
	d := time.Duration(float64(full) * r.Scale)
	if r.Quick {
		d /= 2
	}
	if warm {
		d /= warmShare
	}
	return max(d, 50*time.Millisecond)
}

// target is what a track's requests are sent to.
func (t *track) target() load.Target {
	return load.Target{Addr: t.addr, Host: feed.Host, Path: "/", Header: [][2]string{
		{"user-agent", "outrigger-bench"}, {"accept", "*/*"},
	}}
}

// meter counts what a track's proxies use between two calls.
type meter struct {
	track *track
	from  []*proc.Tracker // by proxy, the one beside the backend first
	used  []proc.Usage
	err   error
}

func (m *meter) begin() {
	m.from, m.used, m.err = nil, nil, nil
	for _, p := range m.track.procs {
		pids, err := proc.Tree(p.PID())
		if err != nil {
			m.err = err
			return
		}
		t, err := proc.Track(pids...)
		if err != nil {
			m.err = err
			return
		}
		m.from = append(m.from, t)
	}
}

func (m *meter) end() {
	for _, t := range m.from {
		used, err := t.Stop()
		if err != nil {
			m.err = err
			return
		}
		m.used = append(m.used, used)
	}
}

// cpu is what all proxies used.
func (m *meter) cpu() time.Duration { return proc.Sum(m.used...).CPU }

// perOp is the metric of most cases, for a pair also by proxy; there is none without
// a proxy.
func (m *meter) perOp(out figures, ops int) {
	if len(m.used) == 0 || ops == 0 {
		return
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(ops) }
	out[cpuPerOp] = each(m.cpu())
	out[rssMB] = float64(proc.Sum(m.used...).RSS) / 1e6
	if len(m.used) == 2 {
		out[serverCPU], out[clientCPU] = each(m.used[0].CPU), each(m.used[1].CPU)
	}
}

// figures are what the proxies used for what was measured meanwhile.
func (m *meter) figures(res *load.Result) (figures, error) {
	if err := firstOf(res.Err(), m.err); err != nil {
		return nil, err
	}
	out := figures{}
	m.perOp(out, res.Requests)
	return out, nil
}

// requests is a turn with a fixed number of requests: what does one cost?
func requests(target func(*track) load.Target, shape load.Shape) func(context.Context, *runner, *track, bool) (figures, error) {
	return func(ctx context.Context, r *runner, t *track, warm bool) (figures, error) {
		s := shape
		s.Requests = r.work(shape.Requests, warm)
		s.Warmup = 100 * time.Millisecond
		m := &meter{track: t}
		s.Begin, s.End = m.begin, m.end
		res, err := load.Run(ctx, target(t), s)
		if err != nil {
			return nil, err
		}
		out, err := m.figures(&res)
		if err != nil {
			return nil, err
		}
		if s.Protocol == load.TCP {
			out["p50_ms"] = millis(res.Latency.Quantile(0.5))
		}
		return out, nil
	}
}

// atMost is a turn of a fixed time at full speed.
func atMost(target func(*track) load.Target, shape load.Shape) func(context.Context, *runner, *track, bool) (figures, error) {
	return func(ctx context.Context, r *runner, t *track, warm bool) (figures, error) {
		s := shape
		s.Duration = r.span(shape.Duration, warm)
		s.Warmup = 100 * time.Millisecond
		res, err := untilAnswered(ctx, target(t), s)
		if err != nil {
			return nil, err
		}
		if err := res.Err(); err != nil {
			return nil, err
		}
		out := figures{opsPerSec: res.PerSecond()}
		out.latency(&res)
		return out, nil
	}
}

// longestTry ends the search for a time in which anything is answered.
const longestTry = 5 * time.Second

// untilAnswered gives a shape twice the time, and again, where a busy machine answers
// nothing at all within it.
func untilAnswered(ctx context.Context, to load.Target, s load.Shape) (load.Result, error) {
	for {
		res, err := load.Run(ctx, to, s)
		if err != nil || res.Requests+res.Errors > 0 || s.Duration >= longestTry {
			return res, err
		}
		s.Duration *= 2
	}
}

// atRate is a turn of an open loop.
func atRate(ctx context.Context, r *runner, t *track, warm bool) (figures, error) {
	s := load.Shape{
		Protocol: load.HTTP1, Conns: 16, Rate: 1000, Arrival: load.Uniform, Duration: r.span(10*time.Second, warm), Warmup: 300 * time.Millisecond,
	}
	m := &meter{track: t}
	s.Begin, s.End = m.begin, m.end
	res, err := load.Run(ctx, t.target(), s)
	if err != nil {
		return nil, err
	}
	out, err := m.figures(&res)
	if err != nil {
		return nil, err
	}
	if !warm {
		r.keepCurve(t, res.Latency)
	}
	if late := res.Lateness.Quantile(0.99); late > lateNote && !warm {
		r.note(false, "the generator itself was late by more than %v for one request in a hundred: this machine is too busy for latencies", lateNote)
	}
	out.latency(&res)
	return out, nil
}

// keepCurve adds a round's latencies to those of the subject in this case.
func (r *runner) keepCurve(t *track, h *load.Histogram) {
	k := curveKey{t.name, t.subject}
	if r.curves[k] == nil {
		r.curves[k] = new(load.Histogram)
	}
	r.curves[k].Merge(h)
}

// curveKey is what a curve belongs to.
type curveKey struct{ name, subject string }

// curvePoints are the shares that a curve is drawn with.
var curvePoints = []float64{0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1}

// drawn returns the curves in the order of cases and subjects.
func (r *runner) drawn() []report.Curve {
	var out []report.Curve
	for _, c := range table() {
		for _, s := range subjects {
			h := r.curves[curveKey{c.name, s}]
			if h == nil {
				continue
			}
			curve := report.Curve{Case: c.name, Subject: s}
			for _, q := range curvePoints {
				curve.Points = append(curve.Points, report.Point{Quantile: q, Millis: millis(h.Quantile(q))})
			}
			out = append(out, curve)
		}
	}
	return out
}

var quantiles = []struct {
	metric string
	share  float64
}{{"p50_ms", 0.5}, {"p90_ms", 0.9}, {"p99_ms", 0.99}, {"p999_ms", 0.999}}

func (f figures) latency(res *load.Result) {
	for _, q := range quantiles {
		f[q.metric] = millis(res.Latency.Quantile(q.share))
	}
}

// addLatency says how much later answers came than without a proxy.
func addLatency(round map[string]figures) {
	direct, ok := round["direct"]
	if !ok {
		return
	}
	for s, got := range round {
		if s == "direct" {
			continue
		}
		for _, q := range quantiles {
			got["added_"+q.metric] = max(got[q.metric]-direct[q.metric], 0)
		}
	}
}

// handshakes is a turn of connections with one request each.
func handshakes(resume bool, count int) func(context.Context, *runner, *track, bool) (figures, error) {
	return func(ctx context.Context, r *runner, t *track, warm bool) (figures, error) {
		target := t.target()
		target.TLS = r.caller.Clone()
		m := &meter{track: t}
		n := r.work(count, warm)
		res, err := load.NewConnections(ctx, target, load.Handshakes{Count: n, Concurrent: 4, Resume: resume, Begin: m.begin, End: m.end})
		if err != nil {
			return nil, err
		}
		out, err := m.figures(&res)
		if err != nil {
			return nil, err
		}
		out["p50_ms"] = millis(res.Latency.Quantile(0.5))
		return out, nil
	}
}

// bulk is a turn of bytes in one direction.
func bulk(megabytes int) func(context.Context, *runner, *track, bool) (figures, error) {
	return func(ctx context.Context, r *runner, t *track, warm bool) (figures, error) {
		m := &meter{track: t}
		m.begin()
		res, err := load.Bulk(ctx, t.addr, load.BulkShape{Bytes: int64(r.work(megabytes, warm)) * mb, Conns: 1})
		m.end()
		if err := firstOf(err, m.err); err != nil {
			return nil, err
		}
		out := figures{gbitPerSec: res.Gbit()}
		if len(t.procs) > 0 {
			out[gbitPerCPU] = float64(res.Bytes) * 8 / 1e9 / max(m.cpu().Seconds(), 1e-9)
		}
		return out, nil
	}
}

func plain(t *track) load.Target { return t.target() }

func megabyte(t *track) load.Target {
	out := t.target()
	out.Path, out.Answer = fmt.Sprintf("/bytes/%d", mb), mb
	return out
}

func grpcCall(t *track) load.Target {
	out := t.target()
	out.Path, out.Body = "/bench.Echo/Call", make([]byte, answerSize)
	return out
}

func bytesOnly(t *track) load.Target {
	return load.Target{Addr: t.addr, Body: make([]byte, 64)}
}

func withTLS(t load.Target, c *tls.Config) load.Target {
	t.TLS = c.Clone()
	return t
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
