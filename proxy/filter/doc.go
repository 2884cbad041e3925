// Package filter holds the filters that the HTTP exchange and the chains ask before
// anything goes upstream.
//
// A filter is built once, by the compiler, from compiled policy; the data path asks
// it for every request (proxy.Filter) or connection (proxy.ConnFilter). It gathers
// the facts, lets package authz decide, counts, and turns a refusal into Envoy's
// reply. It holds no state of requests and knows no configuration format.
package filter
