package feed

import (
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxRefused bounds how many texts of NACKs are kept.
const maxRefused = 20

// adsStream is one stream of a node: configuration never changes while it lasts, so
// every response is the answer to a request.
type adsStream struct {
	server *Server
	node   *node // nil until the first request
	sent   map[string]bool
	nonce  int
}

// DeltaAggregatedResources answers one proxy until it goes.
func (s *Server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	a := &adsStream{server: s, sent: make(map[string]bool)}
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		resp, err := a.answer(req)
		if err != nil {
			return err
		}
		if resp == nil {
			continue
		}
		a.note(resp.GetTypeUrl())
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// note remembers when the first clusters left.
func (a *adsStream) note(typeURL string) {
	if typeURL != typeCluster {
		return
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	if a.node.seen.Pushed.IsZero() {
		a.node.seen.Pushed = time.Now()
	}
}

// answer returns nil where there is nothing to say.
func (a *adsStream) answer(req *discoveryv3.DeltaDiscoveryRequest) (*discoveryv3.DeltaDiscoveryResponse, error) {
	if a.node == nil {
		n, err := a.server.find(req.GetNode().GetId())
		if err != nil {
			return nil, err
		}
		a.node = n
	}
	a.hear(req)
	kind := req.GetTypeUrl()
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind, SystemVersionInfo: "1"}
	switch kind {
	case typeCluster, typeListener:
		if a.sent[kind] {
			return nil, nil //nolint:nilnil // an acknowledgement
		}
		a.sent[kind] = true
		for _, r := range a.node.resources.byType[kind] {
			resp.Resources = append(resp.Resources, wrap(kind, r.name, r.body))
		}
	case typeEndpoint, typeRoute:
		for _, name := range req.GetResourceNamesSubscribe() {
			if body, ok := a.node.resources.index[kind][name]; ok {
				resp.Resources = append(resp.Resources, wrap(kind, name, body))
			} else {
				resp.RemovedResources = append(resp.RemovedResources, name)
			}
		}
		if len(resp.Resources)+len(resp.RemovedResources) == 0 {
			return nil, nil //nolint:nilnil // an acknowledgement
		}
	default:
		return nil, nil //nolint:nilnil // a type that is not served, as with istiod
	}
	a.nonce++
	resp.Nonce = strconv.Itoa(a.nonce)
	return resp, nil
}

// hear takes in what the proxy says about the last response.
func (a *adsStream) hear(req *discoveryv3.DeltaDiscoveryRequest) {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	seen := &a.node.seen
	if e := req.GetErrorDetail(); e != nil && len(seen.Refused) < maxRefused {
		seen.Refused = append(seen.Refused, e.GetMessage())
	}
	if req.GetResponseNonce() != "" && req.GetTypeUrl() == typeListener {
		seen.Listeners = true
	}
}

func wrap(typeURL, name string, body []byte) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Resource: &anypb.Any{TypeUrl: typeURL, Value: body}}
}

// StreamSecrets gives an Envoy its certificate and the root, as pilot-agent does.
func (s *Server) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	var n *node
	for nonce := 1; ; {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if n == nil {
			if n, err = s.find(req.GetNode().GetId()); err != nil {
				return err
			}
		}
		if req.GetResponseNonce() != "" || len(req.GetResourceNames()) == 0 {
			continue
		}
		resp := &discoveryv3.DiscoveryResponse{TypeUrl: typeSecret, VersionInfo: "1", Nonce: strconv.Itoa(nonce)}
		nonce++
		for _, name := range req.GetResourceNames() {
			secret, err := s.secret(n, name)
			if err != nil {
				return err
			}
			resp.Resources = append(resp.Resources, secret)
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

func (s *Server) secret(n *node, name string) (*anypb.Any, error) {
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	secret := &tlsv3.Secret{Name: name}
	switch name {
	case "default":
		secret.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(n.pair.Cert), PrivateKey: inline(n.pair.Key),
		}}
	case "ROOTCA":
		secret.Type = &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(s.Root())}}
	default:
		return nil, status.Errorf(codes.NotFound, "secret %q", name)
	}
	body, err := proto.Marshal(secret)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: typeSecret, Value: body}, nil
}
