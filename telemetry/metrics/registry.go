package metrics

import (
	"slices"
	"sync"
)

// Kind tells how a value behaves.
type Kind uint8

// The kinds of single values.
const (
	Counter Kind = iota
	Gauge
)

// Label is a dimension of a sample.
type Label struct{ Name, Value string }

// The labels that carry a part of an Envoy statistic's dotted name. Istio's
// bootstrap names them so.
const (
	ClusterName   = "cluster_name"
	HTTPPrefix    = "http_conn_manager_prefix"
	ListenerAddr  = "listener_address"
	TCPPrefix     = "tcp_prefix"
	ResponseClass = "envoy_response_code_class"
)

// Emit takes one sample. The name is Envoy's dotted name without its variable part:
// "cluster.upstream_rq_total" with the label ClusterName is printed as
// "cluster.<value>.upstream_rq_total" in Envoy's form and as
// "envoy_cluster_upstream_rq_total" for Prometheus. A name without a dot stays as
// it is. The labels are not kept and may be reused after the call.
type Emit func(name string, labels []Label, value float64, kind Kind)

// Source emits the current values of something that counts.
type Source func(Emit)

// HistogramSource emits the histograms of something that measures.
type HistogramSource func(func(name string, labels []Label, h *Histogram))

// Registry holds sources. The zero value is ready.
type Registry struct {
	mu         sync.Mutex
	sources    []*entry
	histograms []*entry
}

type entry struct {
	values     Source
	histograms HistogramSource
}

// Add registers a source until remove is called.
func (r *Registry) Add(s Source) (remove func()) {
	return r.add(&r.sources, &entry{values: s})
}

// AddHistograms registers a source of histograms until remove is called.
func (r *Registry) AddHistograms(s HistogramSource) (remove func()) {
	return r.add(&r.histograms, &entry{histograms: s})
}

func (r *Registry) add(list *[]*entry, e *entry) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, e)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		// A new slice: a scrape may be reading the old one.
		*list = slices.DeleteFunc(slices.Clone(*list), func(o *entry) bool { return o == e })
	}
}

// snapshot returns the sources of this moment; they run without the lock.
func (r *Registry) snapshot() (values, histograms []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.sources), slices.Clip(r.histograms)
}
