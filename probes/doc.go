// Package probes answers whether this sidecar is ready, and serves its local ports.
//
// Readiness is an AND of named conditions that other parts own; each request asks
// them anew, and the answer names every one that is missing and what to do about
// it. A Server listens on the addresses of one port, serves a handler with every
// wait bounded, and ends, joined, with its context.
//
// It knows conditions and handlers, and nothing of xDS, certificates or listeners.
package probes
