// Package relay stands between istiod and one sidecar, so that the Envoy which
// anybody can install, without Istio's own filters, can be that sidecar.
//
// A Relay serves delta ADS on a socket and opens one stream to istiod for each
// stream of its sidecar. Requests, ACKs and NACKs pass untouched; of the responses
// those resources are rewritten that a plain Envoy would refuse, and what it loses
// is made up for where it can be. Each kind of edit is counted: see Edits. Beside
// it the relay serves the certificates that pilot-agent would serve (SDS), and
// remembers the node that it was told and a digest of each resource that it passed
// on, so that two sidecars can be shown to have had the same.
//
// NewBootstrap writes the configuration with which Envoy comes to a relay.
//
// It must not know who uses it: addresses, tokens and keys are given to it, and it
// starts no process.
package relay
