package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	security "istio.io/api/security/v1alpha1"
)

// maxMessage bounds what a proxy may send: names of a large configuration.
const maxMessage = 16 << 20

// leastPing is how often a proxy may look whether the connection lives; istiod
// allows it too.
const leastPing = 5 * time.Second

// Server hands out configuration. It is safe for concurrent use.
type Server struct {
	security.UnimplementedIstioCertificateServiceServer
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	secretv3.UnimplementedSecretDiscoveryServiceServer

	ca           *authority // immutable
	root         string
	tls, plain   net.Listener
	servers      []*grpc.Server
	servingEnded chan error

	mu    sync.Mutex // guards what follows
	nodes map[string]*node
}

// node is one proxy: what it gets and what happened.
type node struct {
	resources *resources
	role      Role
	pair      Pair
	seen      Seen
}

// Seen is what a node has done so far.
type Seen struct {
	// Pushed is when the first clusters were handed to the transport.
	Pushed time.Time
	// Listeners says that it has acknowledged or refused its listeners.
	Listeners bool
	// Refused holds the texts of NACKs.
	Refused []string
}

// New starts a server; its files go into dir.
func New(ctx context.Context, dir string) (*Server, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("CA of the run: %w", err)
	}
	s := &Server{ca: ca, root: filepath.Join(dir, "root-cert.pem"), nodes: make(map[string]*node), servingEnded: make(chan error, 2)}
	if err := os.WriteFile(s.root, certPEM(ca.cert), 0o600); err != nil {
		return nil, err
	}
	own, err := ca.issue("", "istiod.istio-system.svc", "localhost")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(own.Cert, own.Key)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	if s.tls, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if s.plain, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, s.tls.Close())
	}
	s.serve(s.tls, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	s.serve(s.plain)
	return s, nil
}

func (s *Server) serve(l net.Listener, opts ...grpc.ServerOption) {
	srv := grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(maxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPing, PermitWithoutStream: true}))...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, s)
	secretv3.RegisterSecretDiscoveryServiceServer(srv, s)
	security.RegisterIstioCertificateServiceServer(srv, s)
	s.servers = append(s.servers, srv)
	go func() { s.servingEnded <- srv.Serve(l) }()
}

// Close ends all streams and both ports.
func (s *Server) Close() error {
	var errs []error
	for _, srv := range s.servers {
		srv.Stop()
	}
	for range s.servers {
		if err := <-s.servingEnded; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Address is where a sidecar finds configuration and CA, with TLS.
func (s *Server) Address() string { return s.tls.Addr().String() }

// PlainPort is the same for an Envoy, in plain text and on 127.0.0.1.
func (s *Server) PlainPort() int { return s.plain.Addr().(*net.TCPAddr).Port } //nolint:forcetypeassert // a TCP listener

// RootFile holds the CA's certificate.
func (s *Server) RootFile() string { return s.root }

// Issue makes a certificate with which a peer that has no control plane, or the
// load generator, speaks as a role.
func (s *Server) Issue(r Role) (Pair, error) { return s.ca.issue(r.SPIFFE(), Host) }

// Root is the CA's certificate as PEM.
func (s *Server) Root() []byte { return certPEM(s.ca.cert) }

// Add makes a node known under a pod's name; its access log goes to that file. A
// node that is known is replaced.
func (s *Server) Add(pod string, role Role, hops []Hop, log string) error {
	r, err := build(hops, log)
	if err != nil {
		return fmt.Errorf("configuration of %s: %w", pod, err)
	}
	pair, err := s.Issue(role)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", pod, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[pod] = &node{resources: r, role: role, pair: pair}
	return nil
}

// Remove forgets a node.
func (s *Server) Remove(pod string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, pod)
}

// Seen tells what a node has done so far, if it is known.
func (s *Server) Seen(pod string) (seen Seen, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[pod]
	if n == nil {
		return Seen{}, false
	}
	seen = n.seen
	seen.Refused = slices.Clone(seen.Refused)
	return seen, true
}

// NodeID is the id under which a proxy asks for a pod's configuration.
func NodeID(pod string) string {
	return "sidecar~127.0.0.1~" + pod + "." + namespace + "~" + namespace + ".svc.cluster.local"
}

// find returns the node of an id.
func (s *Server) find(id string) (*node, error) {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return nil, status.Errorf(codes.InvalidArgument, "node id %q", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[strings.TrimSuffix(parts[2], "."+namespace)]
	if n == nil {
		return nil, status.Errorf(codes.NotFound, "node id %q", id)
	}
	return n, nil
}

// CreateCertificate is the CA.
func (s *Server) CreateCertificate(_ context.Context, req *security.IstioCertificateRequest) (*security.IstioCertificateResponse, error) {
	leaf, err := s.ca.request([]byte(req.GetCsr()))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &security.IstioCertificateResponse{CertChain: []string{string(leaf), string(s.Root())}}, nil
}
