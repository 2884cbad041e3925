package compile

import (
	"hash/maphash"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// sockets keeps the TLS clients of one cluster by what they were compiled from.
// Two clients made of the same configuration are not equal, and a cluster gives up
// the connections of a client that it no longer has.
type sockets map[uint64]*mtls.Client

var socketSeed = maphash.MakeSeed() //nolint:gochecknoglobals // one seed for the process

// handshaker compiles a transport socket, or finds it; nil is plain text.
func (k sockets) handshaker(c *Compiler, s scope, ts *corev3.TransportSocket) upstream.Handshaker {
	if ts == nil {
		return nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(ts)
	if !s.check(err) {
		return nil
	}
	digest := maphash.Bytes(socketSeed, b)
	client := k[digest]
	if client == nil {
		client = c.upstreamSocket(s, ts)
		if client == nil {
			return nil
		}
		k[digest] = client
	}
	return client
}
