package relay

import (
	"fmt"
	"slices"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const typePrefix = "type.googleapis.com/"

// The types that are edited, or at least brought into one form.
const (
	ClusterType  = typePrefix + "envoy.config.cluster.v3.Cluster"
	ListenerType = typePrefix + "envoy.config.listener.v3.Listener"
	RouteType    = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	EndpointType = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// Extensions that are in Istio's build of Envoy alone.
const (
	tcpExchangeType  = "envoy.tcp.metadataexchange.config.MetadataExchange"
	httpExchangeType = "io.istio.http.peer_metadata.Config"
	statsType        = "stats.PluginConfig"
	alpnType         = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
)

// peerExchange is the protocol of the peer metadata exchange, which would be
// awaited by a peer that hears it.
const peerExchange = "istio-peer-exchange"

// peerHeaders carry peer metadata over HTTP; Istio's filter keeps them from
// applications.
var peerHeaders = []string{"x-envoy-peer-metadata", "x-envoy-peer-metadata-id"}

// editor makes the edits of one response.
type editor struct {
	emulateALPN bool
	alter       func(proto.Message) string
	note        func(where, what string)
}

// resource edits one resource in place.
func (e *editor) resource(typeURL string, res *discoveryv3.Resource) error {
	if res.GetResource() == nil {
		return nil // a heartbeat
	}
	switch typeURL {
	case ClusterType:
		return e.top(res.GetResource(), new(clusterv3.Cluster), func(m proto.Message) (bool, error) { return e.cluster(m.(*clusterv3.Cluster)) })
	case ListenerType:
		return e.top(res.GetResource(), new(listenerv3.Listener), func(m proto.Message) (bool, error) { return e.listener(m.(*listenerv3.Listener)) })
	case EndpointType:
		return e.top(res.GetResource(), new(endpointv3.ClusterLoadAssignment), func(proto.Message) (bool, error) { return false, nil })
	case RouteType:
		return e.top(res.GetResource(), new(routev3.RouteConfiguration), func(m proto.Message) (bool, error) {
			return e.outboundRoutes(m.(*routev3.RouteConfiguration)), nil
		})
	}
	return nil
}

// top edits a resource and lets it be altered. It is always encoded anew: istiod's
// bytes depend on the order of maps.
func (e *editor) top(a *anypb.Any, m proto.Message, edit func(proto.Message) (bool, error)) error {
	return change(a, m, func() (bool, error) {
		_, err := edit(m)
		if err == nil && e.alter != nil {
			if what := e.alter(m); what != "" {
				e.note("altered on purpose", what)
			}
		}
		return true, err
	})
}

// change unpacks a into m, and packs it again if edit has changed it. The
// encoding has one form: map order must not make a resource look new.
func change(a *anypb.Any, m proto.Message, edit func() (bool, error)) error {
	if err := a.UnmarshalTo(m); err != nil {
		return err
	}
	changed, err := edit()
	if err != nil || !changed {
		return err
	}
	a.Value, err = proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return err
}

// pack wraps a message.
func pack(m proto.Message) (*anypb.Any, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: typePrefix + string(m.ProtoReflect().Descriptor().FullName()), Value: body}, nil
}

// kind returns the type of an extension, looking into a TypedStruct.
func kind(a *anypb.Any) string {
	name := strings.TrimPrefix(a.GetTypeUrl(), typePrefix)
	switch name {
	case "udpa.type.v1.TypedStruct":
		var s udpav1.TypedStruct
		if proto.Unmarshal(a.GetValue(), &s) == nil {
			name = s.GetTypeUrl()
		}
	case "xds.type.v3.TypedStruct":
		var s xdsv3.TypedStruct
		if proto.Unmarshal(a.GetValue(), &s) == nil {
			name = s.GetTypeUrl()
		}
	}
	return strings.TrimPrefix(name, typePrefix)
}

// withoutExchange drops the exchange's name from a list of protocols.
func (e *editor) withoutExchange(where string, protocols []string) ([]string, bool) {
	if !slices.Contains(protocols, peerExchange) {
		return protocols, false
	}
	e.note(where, "alpn_protocols without "+peerExchange)
	return slices.DeleteFunc(protocols, func(p string) bool { return p == peerExchange }), true
}

// inboundRoutes keeps peer metadata from applications.
func (e *editor) inboundRoutes(c *routev3.RouteConfiguration) bool {
	if c == nil {
		return false
	}
	e.note("inbound routes", "request_headers_to_remove "+strings.Join(peerHeaders, ", "))
	c.RequestHeadersToRemove = append(c.RequestHeadersToRemove, peerHeaders...)
	return true
}

// outboundRoutes keeps a server's peer metadata from applications.
func (e *editor) outboundRoutes(c *routev3.RouteConfiguration) bool {
	if c == nil {
		return false
	}
	e.note("outbound routes", "response_headers_to_remove "+strings.Join(peerHeaders, ", "))
	c.ResponseHeadersToRemove = append(c.ResponseHeadersToRemove, peerHeaders...)
	return true
}

// at names a place in an error.
func at(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
