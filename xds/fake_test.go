package xds_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// wait bounds what a test waits for.
const wait = time.Minute

// istiod is a scripted server of incremental discovery over TLS.
type istiod struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer

	t       *testing.T
	address string
	roots   *x509.CertPool
	streams chan *peer // each accepted stream
	refuse  error      // set before the client starts
}

// peer is the server's side of one stream.
type peer struct {
	t        *testing.T
	stream   discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	requests chan *discovery.DeltaDiscoveryRequest
	end      chan error
}

// DeltaAggregatedResources hands the stream to the test.
func (s *istiod) DeltaAggregatedResources(st discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	if s.refuse != nil {
		return s.refuse
	}
	p := &peer{t: s.t, stream: st, requests: make(chan *discovery.DeltaDiscoveryRequest, 100), end: make(chan error, 1)}
	go func() { // ends with the stream
		for {
			r, err := st.Recv()
			if err != nil {
				close(p.requests)
				return
			}
			p.requests <- r
		}
	}()
	s.streams <- p
	select {
	case err := <-p.end:
		return err
	case <-st.Context().Done():
		return st.Context().Err()
	}
}

// serve starts an istiod, on an address of its own or a given one.
func serve(t *testing.T, address string, refuse error) *istiod {
	t.Helper()
	cert, roots := certificate(t)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &istiod{t: t, address: l.Addr().String(), roots: roots, streams: make(chan *peer, 10), refuse: refuse}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}})))
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Serve(l) })
	t.Cleanup(func() {
		g.Stop()
		wg.Wait()
	})
	return s
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "istiod"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"istiod.test"},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// accept waits for the next stream.
func (s *istiod) accept() *peer {
	s.t.Helper()
	select {
	case p := <-s.streams:
		return p
	case <-time.After(wait):
		s.t.Fatal("no stream was opened")
		return nil
	}
}

// request waits for the next request and checks its type.
func (p *peer) request(typeURL string) *discovery.DeltaDiscoveryRequest {
	p.t.Helper()
	select {
	case r, ok := <-p.requests:
		if !ok {
			p.t.Fatal("the stream ended")
		}
		if r.TypeUrl != typeURL {
			p.t.Fatalf("got a request for %s, want %s: %v", r.TypeUrl, typeURL, r)
		}
		return r
	case <-time.After(wait):
		p.t.Fatalf("no request for %s", typeURL)
		return nil
	}
}

// push sends resources and waits for the answer to them, which it returns.
func (p *peer) push(typeURL string, removed []string, rs ...*discovery.Resource) *discovery.DeltaDiscoveryRequest {
	p.t.Helper()
	nonce := time.Now().String()
	p.send(&discovery.DeltaDiscoveryResponse{
		TypeUrl: typeURL, Nonce: nonce, SystemVersionInfo: "v", Resources: rs, RemovedResources: removed,
	})
	r := p.request(typeURL)
	if r.ResponseNonce != nonce {
		p.t.Fatalf("the answer has another nonce: %v", r)
	}
	return r
}

func (p *peer) send(r *discovery.DeltaDiscoveryResponse) {
	p.t.Helper()
	if err := p.stream.Send(r); err != nil {
		p.t.Fatal(err)
	}
}

// recorder is a handler that remembers.
type recorder struct {
	mu      sync.Mutex
	changes []xds.Change
	fail    error
}

// Check accepts everything.
func (r *recorder) Check(string, string, []byte) error { return nil }

// Refused is of no interest.
func (r *recorder) Refused(string, string, []byte, error) {}

// Apply remembers a change.
func (r *recorder) Apply(c xds.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
	return r.fail
}

func (r *recorder) last(typeURL string) xds.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range slices.Backward(r.changes) {
		if c.TypeURL == typeURL {
			return c
		}
	}
	return xds.Change{}
}

// start runs a client against the server until the test ends.
func start(t *testing.T, s *istiod, change func(*xds.Config)) (*xds.Client, *recorder) {
	t.Helper()
	node, err := proto.Marshal(&core.Node{Id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	h := &recorder{}
	cfg := xds.Config{
		Address: s.address, Node: node, Rules: wire.Rules{}, Handler: h,
		Connect: xds.Connect{TLS: func() (*tls.Config, error) {
			return &tls.Config{RootCAs: s.roots, ServerName: "istiod.test"}, nil
		}},
	}
	if change != nil {
		change(&cfg)
	}
	c, err := xds.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := c.Store().Close(); err != nil {
			t.Error(err)
		}
	})
	return c, h
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); {
		if cond() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}
