// Package conformance proves the product against other people's programs and
// against attackers: h2spec, grpc-go's interop programs, Istio's echo application,
// and floods of every kind.
//
// It holds tests alone. Each starts the hall of testdata on a mesh of its own with
// a real istiod, puts a foreign program in the place of an application, or an
// attacker beside it, and runs the rest from other pods. The programs are built
// from their modules at first use: h2spec and interop have module files here,
// Istio's echo comes with istiod's.
//
// It must not know how the product works inside; what Envoy does under the same
// attack is written beside each flood.
package conformance
