// Package catest is a certificate authority to test against.
//
// A Server listens on loopback with TLS, wants a bearer token as istiod does and
// signs with a throw-away mtlstest.CA. It must not be imported by product code.
package catest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	security "istio.io/api/security/v1alpha1"

	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

// Server is a running CA for localhost.
type Server struct {
	security.UnimplementedIstioCertificateServiceServer

	// Address is host:port, with the host that its certificate is for.
	Address string

	ca    *mtlstest.CA // immutable
	token string

	mu      sync.Mutex // guards what follows
	calls   int
	request *security.IstioCertificateRequest
	header  metadata.MD
	err     error
}

// Start serves until the test ends and accepts that token only.
func Start(tb testing.TB, ca *mtlstest.CA, token string) *Server {
	tb.Helper()
	chain, key := ca.IssuePEM(func(c *x509.Certificate) {
		c.DNSNames = []string{"localhost", "istiod.istio-system.svc"}
	})
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		tb.Fatalf("CA's key pair: %v", err)
	}
	lis, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen: %v", err)
	}
	_, port, err := net.SplitHostPort(lis.Addr().String())
	if err != nil {
		tb.Fatalf("own address: %v", err)
	}
	s := &Server{Address: net.JoinHostPort("localhost", port), ca: ca, token: token}
	srv := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	security.RegisterIstioCertificateServiceServer(srv, s)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	tb.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("CA: %v", err)
		}
	})
	return s
}

// FailWith makes the calls from now on fail; nil makes them succeed.
func (s *Server) FailWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Calls counts the calls so far.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Last is what the last call sent.
func (s *Server) Last() (*security.IstioCertificateRequest, metadata.MD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.request, s.header
}

// CreateCertificate implements the service.
func (s *Server) CreateCertificate(ctx context.Context, req *security.IstioCertificateRequest) (*security.IstioCertificateResponse, error) {
	header, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	s.calls++
	s.request, s.header = req, header
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if got := header.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+s.token {
		return nil, status.Error(codes.Unauthenticated, "request authenticate failure")
	}
	chain, err := s.ca.Sign(ctx, []byte(req.GetCsr()), time.Duration(req.GetValidityDuration())*time.Second)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &security.IstioCertificateResponse{CertChain: chain}, nil
}
