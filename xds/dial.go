package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

const (
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	connectTimeout   = 5 * time.Second
	// windowSize is the flow control window that pilot-agent uses too.
	windowSize = 1 << 20
	// maxToken bounds the token file.
	maxToken = 64 << 10

	deltaMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
)

// dial prepares one connection; the stream makes it.
func (c *Client) dial() (*grpc.ClientConn, *handshake, error) {
	hs := &handshake{config: c.cfg.Connect.TLS}
	creds := insecure.NewCredentials()
	if hs.config != nil {
		creds = hs
	}
	dial := c.cfg.Connect.Dial
	if dial == nil {
		d := net.Dialer{Timeout: connectTimeout}
		dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	conn, err := grpc.NewClient("passthrough:///"+c.cfg.Address,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dial(ctx, address)
			hs.note(err)
			return conn, err
		}),
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout}),
		grpc.WithInitialWindowSize(windowSize),
		grpc.WithInitialConnWindowSize(windowSize),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("prepare connection: %w", err)
	}
	return conn, hs, nil
}

// open starts the stream.
func (c *Client) open(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	md := metadata.MD{}
	for name, value := range c.cfg.Connect.Headers {
		md.Append(name, value)
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		md.Set("authorization", "Bearer "+token)
	}
	desc := &grpc.StreamDesc{StreamName: "DeltaAggregatedResources", ServerStreams: true, ClientStreams: true}
	return conn.NewStream(metadata.NewOutgoingContext(ctx, md), desc, deltaMethod, grpc.ForceCodecV2(codec{}),
		grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32))
}

// token reads the bearer token; there is none without the file.
func (c *Client) token() (string, error) {
	file := c.cfg.Connect.TokenFile
	if file == "" || c.cfg.Connect.TLS == nil && !c.cfg.Connect.TokenOnPlaintext {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if len(b) > maxToken {
		return "", fmt.Errorf("read token: %s is larger than %d bytes", file, maxToken)
	}
	return strings.TrimSpace(string(b)), nil
}

// handshake are transport credentials that ask for the TLS configuration at each connection, and remember why dialling
// or the last handshake failed: gRPC passes only the text on.
type handshake struct {
	config func() (*tls.Config, error)

	mu     sync.Mutex
	failed error // guarded by mu
}

// ClientHandshake does one TLS handshake.
func (h *handshake) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := h.config()
	if err != nil {
		err = fmt.Errorf("TLS configuration: %w", err)
		h.note(err)
		return nil, nil, err
	}
	if cfg.ServerName != "" {
		authority = cfg.ServerName // gRPC would verify the dialled name
	}
	out, info, err := credentials.NewTLS(cfg).ClientHandshake(ctx, authority, conn)
	h.note(err)
	return out, info, err
}

func (h *handshake) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = err
}

// cause returns why the last connection failed, if it did.
func (h *handshake) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

// ServerHandshake is not for this side.
func (h *handshake) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials only connect")
}

// Info describes the protocol.
func (h *handshake) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone shares the receiver: it has no state of a connection.
func (h *handshake) Clone() credentials.TransportCredentials { return h }

// OverrideServerName is deprecated; the name comes from the TLS configuration or the address.
func (h *handshake) OverrideServerName(string) error {
	return errors.New("set the name in the TLS configuration")
}
