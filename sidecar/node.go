package sidecar

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/config"
)

// nodeOf is what istiod is told of this proxy.
func nodeOf(n *config.Node) (*corev3.Node, error) {
	metadata, err := structpb.NewStruct(n.Metadata)
	if err != nil {
		return nil, fmt.Errorf("node metadata: %w", err)
	}
	node := &corev3.Node{Id: n.ID(), Cluster: n.Cluster, Metadata: metadata}
	if n.Locality != (config.Locality{}) {
		node.Locality = &corev3.Locality{Region: n.Locality.Region, Zone: n.Locality.Zone, SubZone: n.Locality.SubZone}
	}
	return node, nil
}

// encodings are a node in the forms that the stream and the admin port need.
func encodings(n *config.Node) (wire, json []byte, err error) {
	node, err := nodeOf(n)
	if err != nil {
		return nil, nil, err
	}
	if wire, err = proto.Marshal(node); err != nil {
		return nil, nil, fmt.Errorf("encode node: %w", err)
	}
	json, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(node)
	return wire, json, err
}

// localityOf is where the proxy runs, in the form that endpoints have.
func localityOf(n *config.Node) string {
	if n.Locality == (config.Locality{}) {
		return ""
	}
	return n.Locality.Region + "/" + n.Locality.Zone + "/" + n.Locality.SubZone
}
