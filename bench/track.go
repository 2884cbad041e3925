package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/peers"
	"github.com/outrigger-mesh/outrigger/bench/proc"
	"github.com/outrigger-mesh/outrigger/bench/report"
)

// leg is one proxy on the way from the generator to the backend.
type leg struct {
	role     feed.Role
	protocol feed.Protocol
	tls      bool
	policy   bool
}

// hop is a single proxy with everything but TLS.
func hop(p feed.Protocol) []leg {
	return []leg{{role: feed.Outbound, protocol: p, policy: p != feed.TCP}}
}

// pair is a client's and a server's proxy with mutual TLS between them.
func pair(p feed.Protocol) []leg {
	return []leg{{role: feed.Outbound, protocol: p, tls: true}, {role: feed.Inbound, protocol: p, tls: true, policy: p != feed.TCP}}
}

// server is a single proxy beside the server, of HTTP/1.1.
func server(tls bool) []leg {
	return []leg{{role: feed.Inbound, protocol: feed.HTTP1, tls: tls, policy: true}}
}

// track is the way of one subject through its proxies.
type track struct {
	name    string // of the case
	subject string
	addr    netip.AddrPort
	dirs    []string
	procs   []*peers.Process
}

// lay starts the proxies of a way, the one beside the backend first.
func (r *runner) lay(ctx context.Context, c *benchCase, subject string) (*track, error) {
	t := &track{name: c.name, subject: subject, addr: r.backend[c.backend]}
	if subject == report.Direct {
		return t, nil
	}
	for _, l := range slices.Backward(c.legs) {
		if err := r.extend(ctx, t, l); err != nil {
			return nil, errors.Join(err, t.stop())
		}
	}
	return t, nil
}

// extend puts one more proxy in front of a track.
func (r *runner) extend(ctx context.Context, t *track, l leg) error {
	listen, err := r.env.Ports.Free(ctx)
	if err != nil {
		return err
	}
	h := feed.Hop{
		Role: l.role, Protocol: l.protocol, TLS: l.tls, Policy: l.policy && r.policy, Listen: listen, Upstream: int(t.addr.Port()),
	}
	n := r.node(t.subject, h)
	p, err := peers.Start(ctx, r.env, r.kind(t.subject), n)
	if err != nil {
		return err
	}
	t.procs = append(t.procs, p)
	t.dirs = append(t.dirs, filepath.Join(r.env.Dir, n.Name))
	t.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(listen)) //nolint:gosec // a port
	return nil
}

// node names a proxy.
func (r *runner) node(subject string, hops ...feed.Hop) *peers.Node {
	r.nodes++
	side := "client"
	if hops[0].Role == feed.Inbound {
		side = "server"
	}
	return &peers.Node{Name: fmt.Sprintf("%s-%s-%d", subject, side, r.nodes), Role: hops[0].Role, Hops: hops}
}

// pids are all processes of the track's proxies.
func (t *track) pids() ([]int, error) {
	var all []int
	for _, p := range t.procs {
		tree, err := proc.Tree(p.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, tree...)
	}
	return all, nil
}

// stop ends the proxies and forgets their files.
func (t *track) stop() error {
	var errs []error
	for _, p := range t.procs {
		errs = append(errs, p.Stop())
	}
	for _, dir := range t.dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	t.procs, t.dirs = nil, nil
	return errors.Join(errs...)
}

// explain adds what the proxies of a track said.
func (t *track) explain(err error) error {
	var tails []string
	for _, p := range t.procs {
		if tail := p.Tail(); tail != "" {
			tails = append(tails, tail)
		}
	}
	if len(tails) == 0 {
		return err
	}
	return fmt.Errorf("%w\n%s", err, strings.Join(tails, "\n"))
}

// settle waits a while, or until ctx ends.
func settle(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
