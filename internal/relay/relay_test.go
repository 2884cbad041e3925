package relay_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/relay"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

const (
	clusters  = relay.ClusterType
	listeners = relay.ListenerType
)

// istiod answers the first request of each type with a recorded push.
type istiod struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	seen chan *discoveryv3.DeltaDiscoveryRequest
	auth chan string
}

func (i *istiod) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	i.auth <- strings.Join(append(md.Get("authorization"), md.Get("clusterid")...), " ")
	for {
		req, err := s.Recv()
		if err != nil {
			return nil
		}
		i.seen <- req
		if req.GetResponseNonce() != "" {
			continue
		}
		if len(req.GetResourceNamesUnsubscribe()) > 0 {
			return status.Error(14, "going away")
		}
		resp, err := recorded(req.GetTypeUrl())
		if err != nil {
			return err
		}
		if err := s.Send(resp); err != nil {
			return err
		}
	}
}

func recorded(typeURL string) (*discoveryv3.DeltaDiscoveryResponse, error) {
	file := map[string]string{clusters: "CDS.pb", listeners: "LDS.pb", relay.RouteType: "RDS.pb", relay.EndpointType: "EDS.pb"}[typeURL]
	b, err := os.ReadFile(filepath.Join("..", "..", "xds", "testdata", "web", file))
	if err != nil {
		return nil, err
	}
	m := new(discoveryv3.DeltaDiscoveryResponse)
	err = proto.Unmarshal(b, m)
	m.TypeUrl, m.Nonce = typeURL, "n1"
	return m, err
}

// rig is a relay between a sidecar's connection and an istiod.
type rig struct {
	relay  *relay.Relay
	istiod *istiod
	conn   *grpc.ClientConn
}

func newRig(t *testing.T, change func(*relay.Spec)) *rig {
	t.Helper()
	ca, err := pki.NewCA("relay")
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Leaf("spiffe://cluster.local/ns/istio-system/sa/istiod", time.Hour, "istiod.test")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{istiod: &istiod{seen: make(chan *discoveryv3.DeltaDiscoveryRequest, 16), auth: make(chan string, 4)}}
	up, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&own)))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, r.istiod)
	go func() { _ = server.Serve(up) }()
	t.Cleanup(server.Stop)

	spec := relay.Spec{
		Istiod: relay.Istiod{
			Dial: func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", up.Addr().String())
			},
			TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: "istiod.test"}, ClusterID: "Kubernetes",
			Token: func() (string, error) { return "token", nil },
		},
		Identity: identity(t, ca),
	}
	if change != nil {
		change(&spec)
	}
	if r.relay, err = relay.New(spec); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "relay")
	down, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.relay.Serve(ctx, down) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	if r.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.conn.Close() })
	return r
}

func identity(t *testing.T, ca *pki.CA) *relay.Identity {
	t.Helper()
	cert, err := ca.Leaf("spiffe://cluster.local/ns/shop/sa/web", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return &relay.Identity{
		Chain: append(chain, ca.Root()...), Roots: ca.Root(),
		Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}
}

// open starts a sidecar's stream.
func (r *rig) open(t *testing.T) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask returns what the sidecar is told about a type.
func ask(t *testing.T, s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, typeURL string) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL}); err != nil {
		t.Fatal(err)
	}
	resp, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestNothingOfIstioRemains(t *testing.T) {
	t.Parallel()
	for name, emulate := range map[string]bool{"plain": false, "with emulated ALPN": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(s *relay.Spec) { s.EmulateALPN = emulate })
			s := r.open(t)
			var all strings.Builder
			for _, u := range []string{clusters, listeners, relay.RouteType, relay.EndpointType} {
				for _, res := range ask(t, s, u).GetResources() {
					all.Write(res.GetResource().GetValue())
				}
			}
			text := all.String()
			for _, gone := range []string{
				"envoy.tcp.metadataexchange", "io.istio.http.peer_metadata", "stats.PluginConfig", "filter.http.alpn",
			} {
				if strings.Contains(text, gone) {
					t.Errorf("%s is still there", gone)
				}
			}
			if got := strings.Contains(text, "envoy.network.application_protocols"); got != emulate {
				t.Errorf("filter state with protocols: %v, want %v", got, emulate)
			}
			if len(r.relay.Edits()) < 6 || r.relay.Edits()[0].Count == 0 {
				t.Errorf("got edits %v", r.relay.Edits())
			}
		})
	}
}

func TestTheSamePushHasTheSameDigest(t *testing.T) {
	t.Parallel()
	a, b := newRig(t, nil), newRig(t, nil)
	for _, u := range []string{clusters, listeners, relay.EndpointType} {
		ask(t, a.open(t), u)
		ask(t, b.open(t), u)
	}
	// Each stream begins anew, so the last type is held.
	got, want := a.relay.Digest(relay.EndpointType), b.relay.Digest(relay.EndpointType)
	if len(got) == 0 || len(got) != len(want) {
		t.Fatalf("got %d resources, want %d", len(got), len(want))
	}
	for name, sum := range want {
		if got[name] != sum {
			t.Errorf("%s differs", name)
		}
	}
	if n := len(a.relay.Digest(clusters)); n != 0 {
		t.Errorf("%d clusters of an earlier stream are remembered", n)
	}
}

func TestRequestsPassWithTheTokenAndAreObserved(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.open(t)
	resp := ask(t, s, clusters)
	if got := <-r.istiod.auth; got != "Bearer token Kubernetes" {
		t.Errorf("got credentials %q", got)
	}
	nack := &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: clusters, ResponseNonce: resp.GetNonce(), ErrorDetail: status.New(3, "bad cluster").Proto(),
	}
	if err := s.Send(nack); err != nil {
		t.Fatal(err)
	}
	<-r.istiod.seen
	if got := <-r.istiod.seen; !proto.Equal(got, nack) {
		t.Errorf("got %v, want %v", got, nack)
	}
	if got := r.relay.NACKs(); len(got) != 1 || got[0] != "bad cluster" {
		t.Errorf("got NACKs %q", got)
	}
}

func TestWhenIstiodEndsSoDoesTheSidecarsStream(t *testing.T) {
	t.Parallel()
	s := newRig(t, nil).open(t)
	ask(t, s, clusters)
	if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusters, ResourceNamesUnsubscribe: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != 14 || !strings.Contains(err.Error(), "going away") {
		t.Errorf("got %v, want istiod's own words", err)
	}
}

func TestAResourceIsAlteredLast(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(s *relay.Spec) {
		s.Alter = func(m proto.Message) string {
			c, ok := m.(*routev3.RouteConfiguration)
			if !ok || c.GetName() != "9080" {
				return ""
			}
			c.VirtualHosts = nil
			return "route 9080"
		}
	})
	for _, res := range ask(t, r.open(t), relay.RouteType).GetResources() {
		var c routev3.RouteConfiguration
		if err := res.GetResource().UnmarshalTo(&c); err != nil {
			t.Fatal(err)
		}
		if got := len(c.GetVirtualHosts()); (got == 0) != (c.GetName() == "9080") {
			t.Errorf("%s has %d virtual hosts", c.GetName(), got)
		}
	}
	if e := r.relay.Edits()[0]; e.Where != "altered on purpose" || e.What != "route 9080" || e.Count != 1 {
		t.Errorf("got %v", e)
	}
}

func TestSecretsAreServedByNameAndWithoutTheRoot(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(s *relay.Spec) { s.Roots = map[string][]byte{"file-root:/x.pem": s.Identity.Roots} })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := secretv3.NewSecretDiscoveryServiceClient(r.conn).StreamSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range [][]string{nil, {"default", "ROOTCA", "file-root:/x.pem", "unknown"}} { // the first gets no answer
		if err := s.Send(&discoveryv3.DiscoveryRequest{ResourceNames: names}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(resp.GetResources()); n != 3 {
		t.Fatalf("got %d secrets, want 3", n)
	}
	for _, res := range resp.GetResources() {
		if n := strings.Count(string(res.GetValue()), "BEGIN CERTIFICATE"); strings.Contains(string(res.GetValue()), "default") && n != 2 {
			t.Errorf("the chain has %d certificates, want leaf and intermediate", n)
		}
	}
}
