package probes

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

// Condition is one thing that must hold before traffic may come.
type Condition struct {
	// Name is a short noun, such as "clusters".
	Name string
	// Check reports whether it holds, else why not and what to do. It must return at
	// once and may be called by several goroutines.
	Check func() (ok bool, why string)
}

// Once remembers that the condition held: from then on it is not asked again. It is
// for things whose later absence is no reason to take traffic away, such as the
// first configuration.
func Once(c Condition) Condition {
	var held atomic.Bool
	check := c.Check
	c.Check = func() (bool, string) {
		if held.Load() {
			return true, ""
		}
		ok, why := check()
		if ok {
			held.Store(true)
		}
		return ok, why
	}
	return c
}

// Missing is a condition that does not hold.
type Missing struct{ Name, Why string }

// Readiness is the conjunction of its conditions, of not draining, and of not being
// failed by hand.
type Readiness struct {
	conditions []Condition // immutable

	draining atomic.Bool
	failed   atomic.Bool
}

// NewReadiness returns the conjunction of conditions.
func NewReadiness(conditions ...Condition) *Readiness {
	return &Readiness{conditions: conditions}
}

// Drain makes the sidecar unready for good.
func (r *Readiness) Drain() { r.draining.Store(true) }

// Fail makes the sidecar unready, or takes that back.
func (r *Readiness) Fail(failed bool) { r.failed.Store(failed) }

// Missing lists the conditions that do not hold, in the order they were given; it is
// empty when ready.
func (r *Readiness) Missing() []Missing {
	var missing []Missing
	if r.draining.Load() {
		missing = append(missing, Missing{"draining", "the sidecar is shutting down and takes no new work"})
	}
	if r.failed.Load() {
		missing = append(missing, Missing{"healthcheck", "failed by hand; undo it by POST /healthcheck/ok on the admin port"})
	}
	for _, c := range r.conditions {
		if ok, why := c.Check(); !ok {
			missing = append(missing, Missing{c.Name, why})
		}
	}
	return missing
}

// ServeHTTP answers 200, or 503 with a line for each missing condition.
func (r *Readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET is possible here", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	missing := r.Missing()
	if len(missing) == 0 {
		_, _ = w.Write([]byte("ready\n")) // fails only when the prober left
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(explain(missing)))
}

func explain(missing []Missing) string {
	var b strings.Builder
	fmt.Fprintf(&b, "not ready, %d missing:\n", len(missing))
	for _, m := range missing {
		fmt.Fprintf(&b, "- %s: %s\n", m.Name, m.Why)
	}
	return b.String()
}

// ReadyHandler routes the health port: everything below /healthz/ready is the
// readiness, as in Istio's own listener, the rest is 404.
func ReadyHandler(r *Readiness) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz/ready", r)
	mux.Handle("/healthz/ready/", r)
	return mux
}

// StatsHandler routes the metrics port: /stats/prometheus is prometheus, the rest
// is 404.
func StatsHandler(prometheus http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/stats/prometheus", prometheus)
	return mux
}
