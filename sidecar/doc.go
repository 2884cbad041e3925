// Package sidecar assembles a sidecar from its parts, in order, and ends it.
//
// Run binds the local ports first, so that a taken port is known before anything
// happens; then the certificate source, the xDS client, the compiler and the
// listeners start, each as a goroutine that Run joins. When the context ends, the
// drain begins: readiness off, no new work, connections asked to end, and after
// the grace period closed. It is the only package that knows all others; what a
// part does is decided in that part.
package sidecar
