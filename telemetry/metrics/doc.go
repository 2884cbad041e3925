// Package metrics counts, and prints what was counted in Prometheus' and in Envoy's
// own text form.
//
// Counters live where things happen, as plain atomics in structs that configuration
// binds once; nothing is looked up per request. A Registry holds snapshot functions
// that read them. A scrape runs all of these, groups the samples by name and writes
// them out; between scrapes nothing runs and nothing is kept.
//
// It knows flow.Record and numbers. What a cluster or a listener is, only the
// snapshot functions know.
package metrics
