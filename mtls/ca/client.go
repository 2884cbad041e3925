// Package ca is the client of the mesh's certificate authority.
//
// A Client sends the workload's CSR to istiod's IstioCertificateService and hands
// back what was signed; its Sign is a mtls.SignFunc. Each call is one connection:
// calls are half a lifetime apart, and so token and root files are always the
// current ones. A failed call says in one sentence which file or address to look
// at.
//
// It must not know what the certificates are used for.
package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	security "istio.io/api/security/v1alpha1"

	"github.com/outrigger-mesh/outrigger/mtls"
)

// Spec says where the CA is and how to speak to it.
type Spec struct {
	// Address is host:port.
	Address string
	// ServerName is expected in the CA's certificate; empty stands for the host
	// of Address.
	ServerName string
	// RootFile holds the roots that the CA's certificate must verify against;
	// empty stands for those of the operating system.
	RootFile string
	// PlainText does without TLS, and then without the token unless
	// TokenInPlainText allows it.
	PlainText        bool
	TokenInPlainText bool
	// TokenFile holds the bearer token. A file that does not exist sends none.
	TokenFile string
	// ClusterID goes into the header clusterid, Headers are sent besides.
	ClusterID string
	Headers   map[string]string
	// Signer, if set, names the signer that a CA with several should use.
	Signer string
}

// Client asks a CA for certificates. It is safe for concurrent use.
type Client struct {
	spec       Spec // immutable
	serverName string
	signer     *structpb.Struct
}

const (
	maxToken = 64 << 10
	maxRoots = 4 << 20
	// maxAnswer bounds the CA's answer: a chain and a bundle of roots.
	maxAnswer = 4 << 20
)

// New checks the spec; it does not connect.
func New(spec Spec) (*Client, error) {
	host, _, err := net.SplitHostPort(spec.Address)
	if err != nil {
		return nil, fmt.Errorf("CA address: %w", err)
	}
	c := &Client{spec: spec, serverName: spec.ServerName}
	if c.serverName == "" {
		c.serverName = host
	}
	if spec.Signer != "" {
		c.signer = &structpb.Struct{Fields: map[string]*structpb.Value{"CertSigner": structpb.NewStringValue(spec.Signer)}}
	}
	return c, nil
}

// Sign sends a PEM CSR and returns the PEM texts of the answer: leaf first, trust
// bundle last. Errors are *mtls.SignError.
func (c *Client) Sign(ctx context.Context, csr []byte, lifetime time.Duration) ([]string, error) {
	tok, tokenErr := c.token()
	if tokenErr != nil && !errors.Is(tokenErr, fs.ErrNotExist) {
		return nil, &mtls.SignError{Hint: "the token file " + c.spec.TokenFile + " cannot be read", Err: tokenErr}
	}
	creds := &transport{spec: &c.spec, serverName: c.serverName}
	conn, err := c.connect(creds)
	if err != nil {
		return nil, &mtls.SignError{Hint: "the CA's address " + c.spec.Address + " cannot be used", Err: err}
	}
	resp, err := security.NewIstioCertificateServiceClient(conn).CreateCertificate(c.outgoing(ctx, tok),
		&security.IstioCertificateRequest{
			Csr:              string(csr),
			ValidityDuration: int64(lifetime / time.Second),
			Metadata:         c.signer,
		})
	closeErr := conn.Close()
	if err != nil {
		return nil, c.explain(err, creds.failure(), tok == "")
	}
	if closeErr != nil {
		return nil, fmt.Errorf("close connection to CA: %w", closeErr)
	}
	return resp.GetCertChain(), nil
}

func (c *Client) connect(creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	if c.spec.PlainText {
		creds = insecure.NewCredentials()
	}
	// Passthrough keeps the address away from gRPC's resolver, and no proxy of the
	// environment stands between a sidecar and its CA.
	return grpc.NewClient("passthrough:///"+c.spec.Address,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
}

func (c *Client) outgoing(ctx context.Context, tok string) context.Context {
	pairs := make([]string, 0, 2*(len(c.spec.Headers)+2))
	for k, v := range c.spec.Headers {
		pairs = append(pairs, strings.ToLower(k), v)
	}
	if c.spec.ClusterID != "" {
		pairs = append(pairs, "clusterid", c.spec.ClusterID)
	}
	if tok != "" {
		pairs = append(pairs, "authorization", "Bearer "+tok)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// token reads the file anew each time: the kubelet replaces it.
func (c *Client) token() (string, error) {
	if c.spec.TokenFile == "" || c.spec.PlainText && !c.spec.TokenInPlainText {
		return "", nil
	}
	b, err := readFile(c.spec.TokenFile, maxToken)
	return strings.TrimSpace(string(b)), err
}

// explain adds the sentence that says what to do.
func (c *Client) explain(err, handshake error, noToken bool) error {
	hint := "the CA at " + c.spec.Address + " did not sign"
	code := status.Code(err)
	switch {
	case handshake != nil:
		return &mtls.SignError{Hint: c.handshakeHint(handshake), Err: handshake}
	case code == codes.Unauthenticated && noToken && c.spec.TokenFile == "":
		hint = "the CA at " + c.spec.Address + " wants a token and none is configured"
	case code == codes.Unauthenticated && noToken:
		hint = "the CA at " + c.spec.Address + " wants a token and there is none in " + c.spec.TokenFile +
			": mount a projected service account token with audience istio-ca there"
	case code == codes.Unauthenticated:
		hint = "the CA at " + c.spec.Address + " refused the token in " + c.spec.TokenFile +
			": check its audience (istio-ca), its expiry and that cluster id \"" + c.spec.ClusterID + "\" is known there"
	case code == codes.PermissionDenied:
		hint = "the CA at " + c.spec.Address + " knows us but does not sign for this identity: check namespace and service account"
	case code == codes.Unavailable && strings.Contains(err.Error(), "dial tcp: lookup "): // gRPC keeps the text alone
		hint = "the name of the CA at " + c.spec.Address + " does not resolve: check the address and DNS"
	case code == codes.Unavailable || code == codes.DeadlineExceeded:
		hint = "the CA at " + c.spec.Address + " cannot be reached: check that it runs, its service and network policies"
	}
	return &mtls.SignError{Hint: hint, Err: err}
}

func (c *Client) handshakeHint(err error) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	from := "the system's roots: configure the root file of the mesh"
	if c.spec.RootFile != "" {
		from = c.spec.RootFile + ": check that the file (config map istio-ca-root-cert) is of this mesh"
	}
	switch {
	case errors.Is(err, errRoots):
		return "the root file " + c.spec.RootFile + " cannot be used: mount the config map istio-ca-root-cert there"
	case errors.As(err, &unknown):
		return "the certificate of the CA at " + c.spec.Address + " is not signed by a root in " + from
	case errors.As(err, &host):
		return "the certificate of the CA at " + c.spec.Address + " is not for " + c.serverName + ": check the address, or override the expected name"
	}
	return "the CA at " + c.spec.Address + " failed the TLS handshake"
}

// errRoots marks a root file that cannot be used.
var errRoots = errors.New("no roots to verify the CA with")

// transport is TLS that reads the root file for each connection and remembers why
// a handshake failed: gRPC keeps only the text of it.
type transport struct {
	spec       *Spec
	serverName string

	mu  sync.Mutex // guards err
	err error
}

func (t *transport) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// ClientHandshake implements credentials.TransportCredentials.
func (t *transport) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.handshake(ctx, raw)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	return conn, info, err
}

func (t *transport) handshake(ctx context.Context, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.serverName}
	if t.spec.RootFile != "" {
		b, err := readFile(t.spec.RootFile, maxRoots)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errRoots, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(b) {
			return nil, nil, fmt.Errorf("%w: %s holds no certificate", errRoots, t.spec.RootFile)
		}
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, t.serverName, raw)
}

// ServerHandshake implements credentials.TransportCredentials.
func (t *transport) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("not a server")
}

// Info implements credentials.TransportCredentials.
func (t *transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls", ServerName: t.serverName} //nolint:staticcheck // gRPC reads it
}

// Clone implements credentials.TransportCredentials; sharing is wanted, as the
// copy that gRPC uses must report its failure to us.
func (t *transport) Clone() credentials.TransportCredentials { return t }

// OverrideServerName implements credentials.TransportCredentials.
func (t *transport) OverrideServerName(string) error { return errors.New("server name is fixed") }

// readFile refuses what is larger than limit.
func readFile(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > limit {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}
