// Package feed is a control plane for one machine: it hands proxies a
// configuration of the shape that istiod sends, without istiod.
//
// New makes a throw-away CA and two loopback ports: one with TLS, as istiod has
// it, for a sidecar that fetches its certificate with a signing request, and one
// in plain text for an Envoy that is given its secrets by SDS. Add builds the
// resources of one node out of Hops; a proxy that names this node gets them over
// delta ADS. Seen tells when its first push left and what it refused. Close ends
// all streams.
//
// It must not know how a proxy is started or what is measured with it.
package feed
