package relay

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Istiod says how the control plane is reached.
type Istiod struct {
	// Dial connects to its port 15012.
	Dial func(context.Context) (net.Conn, error)
	// TLS has its roots and its name.
	TLS *tls.Config
	// Token returns the pod's token; it is asked at each stream.
	Token func() (string, error)
	// ClusterID is the cluster that the node says it is in.
	ClusterID string
}

// Spec says what a Relay is to do.
type Spec struct {
	Istiod Istiod
	// TLS is for a sidecar that comes by TCP; nil serves plain text, which is for
	// Unix sockets.
	TLS *tls.Config
	// Identity is served as secrets; nil serves none.
	Identity *Identity
	// Roots are further secrets, file-root:PATH, that the configuration names: PEM.
	Roots map[string][]byte
	// EmulateALPN puts Envoy's own means in the place of istio.alpn. Without it
	// servers take what comes to ports without a declared protocol for TCP.
	EmulateALPN bool
	// Alter may change a resource after all other edits, and says what it did; empty:
	// nothing. It is called from any goroutine.
	Alter func(proto.Message) string
	// Log gets a line for each stream and each NACK; nil drops it.
	Log *slog.Logger
}

// Relay is between istiod and one sidecar.
type Relay struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	secretv3.UnimplementedSecretDiscoveryServiceServer

	// immutable
	spec    Spec
	edits   *ledger
	secrets *secrets

	requests sync.WaitGroup // goroutines that pass requests on

	mu     sync.Mutex
	node   *corev3.Node                 // guarded by mu; of the last stream
	digest map[string]map[string]string // guarded by mu; type URL → name → sum
	nacks  []string                     // guarded by mu
}

// New returns a relay that does not serve yet.
func New(spec Spec) (*Relay, error) {
	if spec.Istiod.Dial == nil || spec.Istiod.TLS == nil || spec.Istiod.Token == nil {
		return nil, errors.New("relay: dial function, TLS configuration and token of istiod are needed")
	}
	if spec.Log == nil {
		spec.Log = slog.New(slog.DiscardHandler)
	}
	secrets, err := newSecrets(spec.Identity, spec.Roots)
	if err != nil {
		return nil, err
	}
	return &Relay{spec: spec, edits: newLedger(), secrets: secrets, digest: map[string]map[string]string{}}, nil
}

// windowSize lets a whole push be under way.
const windowSize = 1 << 20

// Serve serves the sidecar until ctx ends, and closes the listener.
func (r *Relay) Serve(ctx context.Context, l net.Listener) error {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.InitialWindowSize(windowSize), grpc.InitialConnWindowSize(windowSize),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
	if r.spec.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(r.spec.TLS)))
	}
	s := grpc.NewServer(options...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, r)
	secretv3.RegisterSecretDiscoveryServiceServer(s, r)
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	err := s.Serve(l)
	s.Stop() // returns when all handlers have
	r.requests.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}

// Node returns what the sidecar last said that it is, nil if it did not come yet.
func (r *Relay) Node() *corev3.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node
}

// Edits returns what was done to resources, in order.
func (r *Relay) Edits() []Edit { return r.edits.list() }

// NACKs returns the texts with which the sidecar refused responses.
func (r *Relay) NACKs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.nacks...)
}

// Digest returns a sum of each resource of a type that the sidecar holds now.
func (r *Relay) Digest(typeURL string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.digest[typeURL])
}

// DeltaAggregatedResources is a sidecar's stream.
func (r *Relay) DeltaAggregatedResources(down discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	conn, err := r.connect()
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer conn.Close()
	up, err := r.open(ctx, conn)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	r.spec.Log.Info("stream opened")
	r.mu.Lock()
	clear(r.digest)
	r.mu.Unlock()
	// It is in down.Recv until this handler has returned.
	r.requests.Go(func() {
		defer cancel()
		r.forward(down, up)
	})
	err = r.answer(up, down)
	r.spec.Log.Info("stream ended", "error", err)
	return status.Convert(err).Err()
}

type (
	downstream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	upstream   = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
)

// forward passes requests on until either side ends.
func (r *Relay) forward(down downstream, up upstream) {
	for {
		req, err := down.Recv()
		if err != nil {
			_ = up.CloseSend() // ended by the cancelled context besides
			return
		}
		r.observe(req)
		if err := up.Send(req); err != nil {
			return // answer sees why
		}
	}
}

// observe remembers the node, and what was refused.
func (r *Relay) observe(req *discoveryv3.DeltaDiscoveryRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := req.GetNode(); n != nil {
		r.node = n
	}
	if e := req.GetErrorDetail(); e != nil {
		r.nacks = append(r.nacks, e.GetMessage())
		r.spec.Log.Warn("refused by the sidecar", "type", req.GetTypeUrl(), "message", e.GetMessage())
	}
}

// answer rewrites responses and passes them on until either side ends.
func (r *Relay) answer(up upstream, down downstream) error {
	for {
		resp, err := up.Recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Unavailable, "istiod has ended the stream")
		}
		if err != nil {
			return err
		}
		if err := r.rewrite(resp); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		if err := down.Send(resp); err != nil {
			return err
		}
	}
}

// rewrite edits the resources of a response in place.
func (r *Relay) rewrite(resp *discoveryv3.DeltaDiscoveryResponse) error {
	e := editor{emulateALPN: r.spec.EmulateALPN, alter: r.spec.Alter, note: r.edits.note}
	for _, res := range resp.GetResources() {
		if err := e.resource(resp.GetTypeUrl(), res); err != nil {
			return fmt.Errorf("rewrite %s: %w", res.GetName(), err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.digest[resp.GetTypeUrl()]
	if held == nil {
		held = map[string]string{}
		r.digest[resp.GetTypeUrl()] = held
	}
	for _, res := range resp.GetResources() {
		held[res.GetName()] = fmt.Sprintf("%x", sha256.Sum256(res.GetResource().GetValue()))
	}
	for _, name := range resp.GetRemovedResources() {
		delete(held, name)
	}
	return nil
}

func (r *Relay) connect() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///istiod",
		grpc.WithTransportCredentials(credentials.NewTLS(r.spec.Istiod.TLS)),
		grpc.WithAuthority(r.spec.Istiod.TLS.ServerName),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.spec.Istiod.Dial(ctx) }),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(windowSize), grpc.WithInitialConnWindowSize(windowSize),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
}

func (r *Relay) open(ctx context.Context, conn *grpc.ClientConn) (upstream, error) {
	token, err := r.spec.Istiod.Token()
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "clusterid", r.spec.Istiod.ClusterID)
	up, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream to istiod: %w", err)
	}
	return up, nil
}
