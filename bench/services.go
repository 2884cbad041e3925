package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/echo"
	"github.com/outrigger-mesh/outrigger/bench/feed"
	"github.com/outrigger-mesh/outrigger/bench/peers"
	"github.com/outrigger-mesh/outrigger/bench/proc"
)

const (
	// afterPush is when memory is looked at.
	afterPush = time.Minute
	// largeWait bounds the start of a sidecar in a large mesh.
	largeWait = 3 * time.Minute
	// startPoll is how often the first request is tried.
	startPoll = time.Millisecond
)

// serviceCounts are the sizes of the services cases, the longest first: while its
// minute passes the others start.
var serviceCounts = []int{10_000, 1_000, 10}

// Mesh starts sidecars that are told of many services.
type Mesh interface {
	// Sidecar starts a subject's sidecar in a mesh of so many services, and
	// returns when it listens. A subject that the mesh does not have is
	// peers.ErrUnsupported.
	Sidecar(ctx context.Context, subject string, services int) (*Sidecar, error)
}

// Sidecar is what a Mesh started.
type Sidecar struct {
	PID int
	// Began, Pushed and Listening are when the process was started, when the first
	// push left the control plane, and when the sidecar took connections.
	Began, Pushed, Listening time.Time
	Stop                     func() error
}

func configurationCases() []*benchCase {
	var out []*benchCase
	for _, n := range slices.Backward(serviceCounts) {
		out = append(out, &benchCase{
			name:     servicesName(n),
			about:    fmt.Sprintf("a sidecar that was told of %d services with 10 endpoints each, a minute after the push", n),
			subjects: sidecars, run: allServices,
		})
	}
	return append(out, &benchCase{
		name: "start-1000", about: "from the first byte of configuration with 1,000 services to the first proxied request",
		subjects: sidecars, run: starts,
	})
}

func servicesName(n int) string { return fmt.Sprintf("services-%d", n) }

// allServices takes all the services cases at the first of them. Sidecars start one
// after the other, so that none disturbs another's start; their minutes overlap.
func allServices(ctx context.Context, r *runner, first *benchCase) error {
	if r.servicesTaken {
		return nil
	}
	r.servicesTaken = true
	mesh := r.Mesh
	if mesh == nil {
		mesh = (*feedMesh)(r)
	}
	rounds := r.Rounds
	if r.Quick {
		rounds = 1
	}
	who := r.subjectsOf(first)
	for n := range rounds {
		if err := r.servicesRound(ctx, mesh, n, rounds, who); err != nil {
			return err
		}
		slices.Reverse(who)
	}
	return nil
}

// large is a sidecar whose minute has not passed.
type large struct {
	name, subject string
	sidecar       *Sidecar
}

func (r *runner) servicesRound(ctx context.Context, mesh Mesh, n, rounds int, who []string) (err error) {
	var open []large
	defer func() {
		for _, l := range open {
			err = errors.Join(err, l.sidecar.Stop())
		}
	}()
	for _, count := range serviceCounts {
		if !wanted(r.Cases, servicesName(count)) {
			continue
		}
		for _, s := range who {
			sidecar, err := mesh.Sidecar(ctx, s, count)
			if errors.Is(err, peers.ErrUnsupported) {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				r.note(true, "%s: %s: %v", servicesName(count), s, err)
				continue
			}
			r.say("%s: %s listens after %v", servicesName(count), s, sidecar.Listening.Sub(sidecar.Began).Round(time.Millisecond))
			open = append(open, large{servicesName(count), s, sidecar})
		}
	}
	for _, l := range open {
		if err := settle(ctx, time.Until(l.sidecar.Pushed.Add(afterPush))); err != nil {
			return err
		}
		used, err := proc.Of(l.sidecar.PID)
		if err != nil {
			r.note(true, "%s: %s: %v", l.name, l.subject, err)
			continue
		}
		rss := float64(used.RSS) / 1e6
		r.figures.Add(l.name, l.subject, rssMB, rss)
		r.figures.Add(l.name, l.subject, listeningMS, millis(l.sidecar.Listening.Sub(l.sidecar.Began)))
		r.figures.Add(l.name, l.subject, cpuMS, millis(used.CPU))
		r.say("%s: round %d of %d: %s %.1f MB, %v of CPU", l.name, n+1, rounds, l.subject, rss, used.CPU.Round(time.Millisecond))
	}
	return nil
}

// feedMesh makes do with the loopback control plane.
type feedMesh runner

// Sidecar implements Mesh.
func (m *feedMesh) Sidecar(ctx context.Context, subject string, services int) (*Sidecar, error) {
	r := (*runner)(m)
	n, err := r.largeNode(ctx, subject, services)
	if err != nil {
		return nil, err
	}
	p, err := peers.Start(ctx, r.env, r.kind(subject), n)
	if err != nil {
		return nil, err
	}
	out := &Sidecar{Began: p.Began(), Listening: time.Now()}
	seen, _ := r.env.Feed.Seen(n.Name)
	out.PID, out.Pushed, out.Stop = p.PID(), seen.Pushed, func() error {
		defer r.env.Feed.Remove(n.Name)
		return p.Stop()
	}
	if out.Pushed.IsZero() { // it listens, so it cannot be far
		out.Pushed = out.Listening
	}
	return out, nil
}

// largeNode is a client's sidecar in a large mesh.
func (r *runner) largeNode(ctx context.Context, subject string, services int) (*peers.Node, error) {
	listen, err := r.env.Ports.Free(ctx)
	if err != nil {
		return nil, err
	}
	n := r.node(subject, feed.Hop{
		Role: feed.Outbound, Protocol: feed.HTTP1, Listen: listen, Upstream: int(r.backend[echo.HTTP1].Port()), Services: services,
	})
	n.Wait = largeWait
	return n, nil
}

// starts measures how soon a sidecar of a large mesh proxies its first request.
func starts(ctx context.Context, r *runner, c *benchCase) error {
	who := r.subjectsOf(c)
	for n := range r.Rounds {
		round := make(map[string]figures)
		for _, s := range who {
			took, err := r.startOnce(ctx, s)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				r.note(true, "%s: %s: %v", c.name, s, err)
				continue
			}
			round[s] = figures{ms: millis(took)}
		}
		r.collect(c, n, round)
		slices.Reverse(who)
	}
	return nil
}

func (r *runner) startOnce(ctx context.Context, subject string) (took time.Duration, err error) {
	n, err := r.largeNode(ctx, subject, 1000)
	if err != nil {
		return 0, err
	}
	// The configuration is made before the process starts.
	p, err := peers.Launch(ctx, r.env, r.kind(subject), n)
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, p.Stop())
		r.env.Feed.Remove(n.Name)
	}()
	ctx, cancel := context.WithTimeout(ctx, largeWait)
	defer cancel()
	addr := peers.Addr(n.Hops[0].Listen)
	if err := p.Until(ctx, startPoll, func() error { return proxied(ctx, addr) }); err != nil {
		return 0, err
	}
	answered := time.Now()
	seen, _ := r.env.Feed.Seen(n.Name)
	return answered.Sub(seen.Pushed), nil
}

var errNotProxied = errors.New("no good answer")

// proxied asks for one answer of the backend.
func proxied(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: " + feed.Host + "\r\nConnection: close\r\n\r\n")); err != nil {
		return err
	}
	head := make([]byte, 64)
	n, err := c.Read(head)
	if err != nil {
		return err
	}
	if line, _, _ := strings.Cut(string(head[:n]), "\r\n"); !strings.HasPrefix(line, "HTTP/1.1 200") {
		return fmt.Errorf("%w: %q", errNotProxied, line)
	}
	return nil
}
