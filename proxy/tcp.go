package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/sock"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// TCPSpec is the immutable configuration of a TCP proxy.
type TCPSpec struct {
	StatPrefix string
	Clusters   []WeightedCluster
	// IdleTimeout closes a connection in which nothing moves; 0 is off. Envoy's
	// default of one hour is DefaultTCPIdleTimeout.
	IdleTimeout time.Duration
	// MaxConnectAttempts is at least 1.
	MaxConnectAttempts int
	// MaxDuration closes a connection of that age; 0 is off.
	MaxDuration time.Duration
	// HashSourceIP has clusters that pick by hash pick by the downstream's address.
	HashSourceIP bool
	// ALPN is offered upstream.
	ALPN []string
	// Tunnel, where set, takes the bytes through an HTTP proxy.
	Tunnel    *TCPTunnel
	Observers []flow.Observer
	// Ext is lent to observers through the record.
	Ext any
}

// DefaultTCPIdleTimeout is what Envoy assumes where no idle timeout is configured.
const DefaultTCPIdleTimeout = time.Hour

// TCP carries a connection's bytes to one upstream connection.
type TCP struct {
	spec TCPSpec // immutable
	open upstream.OpenOptions
}

// NewTCP makes the handler of a TCP chain.
func NewTCP(spec TCPSpec) *TCP {
	spec.MaxConnectAttempts = max(1, spec.MaxConnectAttempts)
	return &TCP{spec: spec, open: upstream.OpenOptions{ALPN: spec.ALPN}}
}

// Spec is the handler's configuration.
func (t *TCP) Spec() *TCPSpec { return &t.spec }

// ServeConn connects upstream and relays until both directions have ended.
func (t *TCP) ServeConn(ctx context.Context, c *Conn) {
	rec := new(flow.Record)
	t.begin(c, rec)
	defer t.finish(rec)
	if t.spec.Tunnel != nil {
		t.serveTunnel(ctx, c, rec)
		return
	}
	up, err := t.connect(ctx, c, rec)
	if err != nil {
		t.fail(rec, err)
		return
	}
	t.carry(ctx, c, rec, up, sideOf(up))
}

// serveAhead is ServeConn with an upstream that was dialled before, or that is
// dialled anew where it is gone again.
func (t *TCP) serveAhead(ctx context.Context, c *Conn, a *ahead) {
	up, from, err := a.take()
	if err != nil {
		t.ServeConn(ctx, c)
		return
	}
	defer t.finish(&a.rec)
	t.carry(ctx, c, &a.rec, up, from)
}

// begin opens the record of a connection.
func (t *TCP) begin(c *Conn, rec *flow.Record) {
	rec.Conn, rec.Start, rec.Ext = c.Flow, c.Flow.Start, t.spec.Ext
}

// carry relays between the two connections; other is the upstream's side.
func (t *TCP) carry(ctx context.Context, c *Conn, rec *flow.Record, up *upstream.Conn, other side) {
	defer up.Done()
	rec.Upstream.Endpoint, rec.Upstream.Local = up.Endpoint.Addr(), up.Local()
	if up.TLS.Established {
		rec.Upstream.TLS, rec.Upstream.Peer = true, &up.TLS.Peer
	}
	down := side{conn: c, tcp: c.bare(), peeked: c.peeked}
	if down.tcp == nil {
		down.bulk = sock.Under(c.Conn)
	}
	switch { // what is spliced moves without us
	case down.bulk != nil && other.tcp != nil:
		other.hasten()
	case down.tcp != nil && other.bulk != nil:
		c.sock.hasten()
	}
	r := relay{down: down, up: other, idle: t.spec.IdleTimeout}
	if t.spec.MaxDuration > 0 {
		r.deadline = c.Flow.Start.Add(t.spec.MaxDuration)
	}
	end := r.run(ctx)
	rec.Request.Bytes, rec.Response.Bytes = end.fromDown, end.fromUp
	if end.reason == endMaxDuration {
		rec.Flags.Set(flow.DurationTimeout)
	}
	if end.reset() && end.side == flow.SideUpstream {
		rec.Flags.Set(flow.UpstreamRemoteReset)
	}
	rec.Termination = end.text()
}

// sideOf is an upstream connection as an end of a relay.
func sideOf(up *upstream.Conn) side {
	tcp, _ := up.Conn.(*net.TCPConn)
	if tcp == nil {
		return side{conn: up.Conn, bulk: sock.Under(up.Conn)}
	}
	return side{conn: up.Conn, tcp: tcp}
}

// connect picks a cluster by weight and dials its endpoints until one answers.
func (t *TCP) connect(ctx context.Context, c *Conn, rec *flow.Record) (up *upstream.Conn, err error) {
	err = t.attempts(ctx, c, rec, func(cluster *upstream.Cluster, ep *lb.Endpoint) (err error) {
		up, err = cluster.Dial(ctx, ep, &t.open)
		return err
	})
	return up, err
}

// attempts picks a cluster by weight, and tries its endpoints until one serves.
func (t *TCP) attempts(ctx context.Context, c *Conn, rec *flow.Record, try func(*upstream.Cluster, *lb.Endpoint) error) error {
	random := rand.Uint64() //nolint:gosec // load balancing
	w := pick(t.spec.Clusters, random)
	if w == nil || w.Cluster == nil {
		return noCluster()
	}
	rec.Upstream.Cluster = w.Cluster.Name()
	if err := w.Cluster.Ensure(ctx); err != nil {
		rec.Upstream.Cluster = "" // a cluster that is not known has no name
		return err
	}
	hint := lb.Hint{OrigDst: c.Flow.OriginalDst, MaxPicks: 1}
	if t.spec.HashSourceIP {
		hint.Hash, hint.Hashed = lb.Hash(c.Flow.Remote.Addr().String(), 0), true
	}
	for {
		ep, err := w.Cluster.Pick(&hint)
		if err != nil {
			return err
		}
		rec.Upstream.Attempts++
		rec.Upstream.Endpoint = ep.Addr()
		err = try(w.Cluster, ep)
		if errors.Is(err, upstream.ErrOverflow) {
			rec.Upstream.Attempts-- // nobody was dialled
			rec.Upstream.Endpoint = netip.AddrPort{}
		}
		if err == nil || !retriableConnect(err) || ctx.Err() != nil {
			return err
		}
		if rec.Upstream.Attempts >= t.spec.MaxConnectAttempts {
			rec.Flags.Set(flow.UpstreamRetryLimitExceeded)
			return err
		}
	}
}

func retriableConnect(err error) bool {
	fe, ok := flow.AsError(err)
	return ok && (fe.Kind == flow.KindConnectFailure || fe.Kind == flow.KindConnectTimeout || fe.Kind == flow.KindTLSFailure)
}

func noCluster() *flow.Error {
	return &flow.Error{Side: flow.SideInternal, Flag: flow.NoClusterFound, Kind: flow.KindNoCluster, Details: "cluster_not_found"}
}

// fail records why no upstream connection was had.
func (t *TCP) fail(rec *flow.Record, err error) {
	fe, ok := flow.AsError(err)
	if !ok {
		rec.Flags.Set(flow.UpstreamConnectionFailure)
		rec.Upstream.FailureReason = err.Error()
		return
	}
	rec.Flags.Set(fe.Flag)
	if fe.Side == flow.SideUpstream && fe.Kind != flow.KindNoEndpoint {
		rec.Upstream.FailureReason = fe.Details
	}
}

// refused records a connection that a filter turned away.
func (t *TCP) refused(c *Conn, why error) {
	rec := &flow.Record{Termination: why.Error()}
	t.begin(c, rec)
	t.meant(rec)
	if r, ok := errors.AsType[*Refusal](why); ok {
		rec.Policy = r.Policy
	}
	t.finish(rec)
}

// unshaken records a connection whose TLS handshake failed: nobody was dialled for
// it.
func (t *TCP) unshaken(c *Conn) {
	rec := new(flow.Record)
	t.begin(c, rec)
	t.meant(rec)
	t.finish(rec)
}

// meant names the cluster of a connection that never came to it, where there is one
// alone.
func (t *TCP) meant(rec *flow.Record) {
	if len(t.spec.Clusters) == 1 && t.spec.Clusters[0].Cluster != nil {
		rec.Upstream.Cluster = t.spec.Clusters[0].Cluster.Name()
	}
}

func (t *TCP) finish(rec *flow.Record) {
	rec.Duration = time.Since(rec.Start)
	observe(t.spec.Observers, rec)
}
