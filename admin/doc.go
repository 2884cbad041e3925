// Package admin answers on the loopback port what this sidecar holds and does, in
// the shapes of Envoy's admin interface, so that Istio's tools read it.
//
// A Mux is made once from functions that the other parts lend. A request passes
// the guard (loopback peer, loopback host name, no foreign origin, POST for what
// changes something), reads what it needs at that moment and streams the answer:
// resources are decoded one by one from the bytes that arrived, so that a dump of
// ten thousand clusters needs the memory of one.
//
// It knows the admin interface's JSON and Any types by their registered
// descriptors, and nothing of how a resource is used.
package admin
