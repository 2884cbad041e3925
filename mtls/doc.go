// Package mtls is the workload's identity and the TLS that is made of it.
//
// Material is immutable: a key pair or a trust bundle. A Secret is live: it has
// a name and points at the current Material; Secrets is the registry by SDS name
// and watches those that are files. A Source obtains the workload certificate
// from a CA and rotates it, writing the secrets "default" and "ROOTCA". A Server
// or a Client reads its secrets once per handshake, so a rotation changes new
// handshakes and disturbs no connection; both verify the peer in
// VerifyConnection, which crypto/tls runs for resumed sessions as well.
// ParseClientHello reads SNI and ALPN from peeked bytes, before a Server is chosen.
//
// It must not know any Envoy or Istio message, the address of a control plane, or
// what is carried inside the connections.
package mtls
