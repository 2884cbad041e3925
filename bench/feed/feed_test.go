package feed_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	security "istio.io/api/security/v1alpha1"

	"github.com/outrigger-mesh/outrigger/bench/feed"
)

const (
	clusters  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpoints = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listeners = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routes    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

func newServer(t *testing.T) *feed.Server {
	t.Helper()
	s, err := feed.New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func dial(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type stream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

func open(t *testing.T, s *feed.Server) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := dial(t, fmt.Sprintf("127.0.0.1:%d", s.PlainPort()), insecure.NewCredentials())
	st, err := discoveryv3.NewAggregatedDiscoveryServiceClient(c).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// ask sends a request and returns the names in the answer.
func ask(t *testing.T, st stream, req *discoveryv3.DeltaDiscoveryRequest) (names, removed []string) {
	t.Helper()
	if err := st.Send(req); err != nil {
		t.Fatal(err)
	}
	resp, err := st.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetTypeUrl() != req.GetTypeUrl() || resp.GetNonce() == "" {
		t.Errorf("got type %q, nonce %q", resp.GetTypeUrl(), resp.GetNonce())
	}
	for _, r := range resp.GetResources() {
		names = append(names, r.GetName())
	}
	return names, resp.GetRemovedResources()
}

func TestNodeGetsItsResourcesAndWhatItNames(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	hop := feed.Hop{Role: feed.Outbound, Protocol: feed.HTTP2, Listen: 1234, Upstream: 5678, TLS: true, Policy: true}
	if err := s.Add("web", feed.Outbound, []feed.Hop{hop}, "/dev/null"); err != nil {
		t.Fatal(err)
	}
	st := open(t, s)
	node := &corev3.Node{Id: feed.NodeID("web")}
	const cluster = "outbound|1234||" + feed.Host
	for _, c := range []struct {
		req           *discoveryv3.DeltaDiscoveryRequest
		want, removed string
	}{
		{&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: clusters}, cluster, ""},
		{&discoveryv3.DeltaDiscoveryRequest{TypeUrl: endpoints, ResourceNamesSubscribe: []string{cluster, "other"}}, cluster, "other"},
		{&discoveryv3.DeltaDiscoveryRequest{TypeUrl: listeners}, "127.0.0.1_1234", ""},
		{&discoveryv3.DeltaDiscoveryRequest{TypeUrl: routes, ResourceNamesSubscribe: []string{"1234"}}, "1234", ""},
	} {
		got, removed := ask(t, st, c.req)
		if strings.Join(got, " ") != c.want || strings.Join(removed, " ") != c.removed {
			t.Errorf("%s: got %q, removed %q", c.req.GetTypeUrl(), got, removed)
		}
	}
	if seen, known := s.Seen("web"); !known || seen.Pushed.IsZero() || seen.Listeners || len(seen.Refused) > 0 {
		t.Errorf("got %+v, %v", seen, known)
	}
	refused := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: listeners, ResponseNonce: "3", ErrorDetail: &status.Status{Code: 13, Message: "no"}}
	if err := st.Send(refused); err != nil {
		t.Fatal(err)
	}
	ask(t, st, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: routes, ResourceNamesSubscribe: []string{"1234"}})
	if seen, _ := s.Seen("web"); !seen.Listeners || len(seen.Refused) != 1 || seen.Refused[0] != "no" {
		t.Errorf("got %+v, want the refusal", seen)
	}
}

func TestUnknownNodeIsTurnedAway(t *testing.T) {
	t.Parallel()
	st := open(t, newServer(t))
	if err := st.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: feed.NodeID("nobody")}, TypeUrl: clusters}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); grpcstatus.Code(err) != codes.NotFound {
		t.Errorf("got %v, want NotFound", err)
	}
}

func TestServicesComeWithRoutesAndEndpoints(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	hop := feed.Hop{Role: feed.Outbound, Protocol: feed.HTTP1, Listen: 1234, Upstream: 5678, Services: 20}
	if err := s.Add("web", feed.Outbound, []feed.Hop{hop}, "/dev/null"); err != nil {
		t.Fatal(err)
	}
	st := open(t, s)
	all, _ := ask(t, st, &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: feed.NodeID("web")}, TypeUrl: clusters})
	if len(all) != 21 {
		t.Fatalf("got %d clusters, want 21", len(all))
	}
	got, removed := ask(t, st, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: endpoints, ResourceNamesSubscribe: all})
	if len(got) != 21 || len(removed) != 0 {
		t.Errorf("got %d endpoints, %q are missing", len(got), removed)
	}
}

func TestEnvoyIsGivenItsSecrets(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	if err := s.Add("web", feed.Inbound, nil, "/dev/null"); err != nil {
		t.Fatal(err)
	}
	c := dial(t, fmt.Sprintf("127.0.0.1:%d", s.PlainPort()), insecure.NewCredentials())
	st, err := secretv3.NewSecretDiscoveryServiceClient(c).StreamSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: feed.NodeID("web")}, ResourceNames: []string{"default"}}); err != nil {
		t.Fatal(err)
	}
	resp, err := st.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var secret tlsv3.Secret
	if err := resp.GetResources()[0].UnmarshalTo(&secret); err != nil {
		t.Fatal(err)
	}
	pair := secret.GetTlsCertificate()
	got, err := tls.X509KeyPair(pair.GetCertificateChain().GetInlineBytes(), pair.GetPrivateKey().GetInlineBytes())
	if err != nil {
		t.Fatal(err)
	}
	if id := got.Leaf.URIs[0].String(); id != feed.Inbound.SPIFFE() {
		t.Errorf("got identity %s", id)
	}
}

func TestSidecarIsSignedForTheIdentityInItsRequest(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Root())
	c := dial(t, s.Address(), credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "istiod.istio-system.svc", MinVersion: tls.VersionTLS12}))
	client := security.NewIstioCertificateServiceClient(c)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse(feed.Outbound.SPIFFE())
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id}}, key)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.CreateCertificate(t.Context(), &security.IstioCertificateRequest{
		Csr: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(resp.GetCertChain()[0]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil || leaf.URIs[0].String() != id.String() {
		t.Errorf("got %v for %v", err, leaf.URIs)
	}
	if _, err := client.CreateCertificate(t.Context(), &security.IstioCertificateRequest{Csr: "none"}); grpcstatus.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v for no request, want InvalidArgument", err)
	}
}
