// Package twin gives the same push of a real istiod to a real Envoy and to
// Outrigger, sends the same requests through both, and tells every difference.
//
// Run brings up a mesh whose servers are scripts in this process. In the pods
// that are its subjects it starts first Outrigger and then Envoy, at the same
// addresses, each behind a relay of package relay, and plays the corpus: bytes
// that a client sends, and what the server is to answer. What came back, what
// reached the server and what the access log says is tidied by named rules and
// compared part by part. A difference is explained by an entry of
// docs/differences.md or it fails the run; so does an entry that explains nothing
// any more.
//
// It must not know how either proxy works inside.
package twin
