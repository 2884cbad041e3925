package conformance_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// firstTrap is the port of the first trap.
const firstTrap = 31000

// Bounds of what a flood may do. A victim's p99 should be some times what it was
// before at most, and something more: attacker, application and sidecar share the
// machine's cores. Noise from elsewhere is met by trying again. A machine that is slow
// or busy misses that without a fault of the sidecar, which is told and no failure;
// floodWorst is what a victim that still gets its turn meets on any machine.
const (
	floodSpan    = 700 * time.Millisecond
	floodConns   = 2
	floodPause   = 50 * time.Millisecond // of an attacker between two connections
	floodMemory  = 64 << 20              // growth of the sidecar's memory
	floodFactor  = 3
	floodLatency = 50 * time.Millisecond
	floodWorst   = 2 * time.Second
	floodLoad    = time.Second // instead, where the flood is a load of good requests
	floodTries   = 4
	floodRest    = 50 * time.Millisecond // processor time in a quarter of a second afterwards
)

func TestMeshFloodsFromDownstream(t *testing.T) {
	mesh := hall(t)
	server := mesh.Pod("server")
	attacker, bystander := mesh.PlainPod("outside"), mesh.PlainPod("bystander")
	addr := server.Addr().String() + ":8080"
	field := &battlefield{sidecar: server, victims: []*victim{
		newVictim(t, bystander, "http://"+server.Addr().String()+":8081/", false),
		newVictim(t, bystander, "http://"+server.Addr().String()+":8081/", true),
	}}
	open := func(ctx context.Context) (net.Conn, error) { return attacker.Dial(ctx, "tcp", addr) }
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) { field.meets(t, &a, open) })
	}
	t.Run("over mutual TLS", func(t *testing.T) {
		cert, err := mesh.CA.Leaf("spiffe://cluster.local/ns/hall/sa/outside", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		conf := &tls.Config{
			Certificates: []tls.Certificate{cert}, NextProtos: []string{"istio-h2", "istio", "h2"},
			InsecureSkipVerify: true, //nolint:gosec // whom the attacker talks to does not matter
		}
		openTLS := func(ctx context.Context) (net.Conn, error) {
			c, err := open(ctx)
			if err != nil {
				return nil, err
			}
			return tls.Client(c, conf), nil
		}
		for _, a := range attacks() {
			if a.tls {
				t.Run(a.name, func(t *testing.T) { field.meets(t, &a, openTLS) })
			}
		}
	})
	t.Run("10,000 tiny streams, a hundred at a time", func(t *testing.T) {
		user := newVictim(t, attacker, "http://"+addr+"/?size=1", true)
		field.holds(t, floodLoad, func(ctx context.Context) error { return user.often(ctx, 10_000, 100) })
		if err := user.often(t.Context(), 10_000, 100); err != nil {
			t.Errorf("%.300v", err)
		}
	})
}

// meets runs an attack once to see how it ends, and then as a flood.
func (b *battlefield) meets(t *testing.T, a *attack, open func(context.Context) (net.Conn, error)) {
	t.Helper()
	strike := func(ctx context.Context) (*peer, error) {
		c, err := open(ctx)
		if err != nil {
			return nil, err
		}
		p := newPeer(c)
		return p, a.strike(ctx, p)
	}
	p, err := strike(t.Context())
	if p == nil {
		t.Fatal(err)
	}
	judge(t, p, err, a.ends, a.code)
	more := floodLatency
	if a.load {
		more = floodLoad
	}
	b.holds(t, more, func(ctx context.Context) error {
		_, err := strike(ctx)
		return err
	})
}

// judge looks at how one hostile connection went.
func judge(t *testing.T, p *peer, err error, ends bool, code string) {
	t.Helper()
	ended := p.ended || err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	t.Logf("one connection: %v; ended by the sidecar: %v", p, ended)
	if ends && !ended {
		t.Error("the sidecar puts up with it")
	}
	if got := p.verdict(); got != "none" && got != "GOAWAY" && got != code && got != "ENHANCE_YOUR_CALM" {
		t.Errorf("got GOAWAY with %s, want ENHANCE_YOUR_CALM or %q", got, code)
	}
}

// strike runs the attack on a connection and closes it.
func (a *attack) strike(ctx context.Context, p *peer) error {
	stop := context.AfterFunc(ctx, func() { _ = p.SetDeadline(time.Now()) })
	defer stop()
	err := p.soonOver(strikeLimit)
	if !a.deaf {
		p.listen(true)
	}
	err = errors.Join(err, a.run(p))
	if a.deaf {
		p.listen(false)
	}
	select {
	case <-p.over:
		p.ended = true
	case <-time.NewTimer(mercy(a.ends)).C:
	}
	_ = p.Close() // ends listen
	p.listening.Wait()
	return err
}

// strikeLimit bounds one hostile connection.
const strikeLimit = 10 * time.Second

// mercy is how long a sidecar may take to end a connection after the last blow: on a
// busy machine longer, where it has to.
func mercy(ends bool) time.Duration {
	if ends {
		return 5 * time.Second
	}
	return 300 * time.Millisecond
}

// battlefield is a sidecar under attack and those who share it.
type battlefield struct {
	sidecar *testmesh.Pod
	victims []*victim
	calm    []time.Duration // the victims' p99 without attack
}

// holds floods the sidecar for a while, again and again as strike ends, and checks
// what that does to its memory, its processor time and its other users.
// The victims' p99 may grow by more.
func (b *battlefield) holds(t *testing.T, more time.Duration, strike func(context.Context) error) {
	t.Helper()
	before, err := b.sidecar.SidecarRSS()
	if err != nil {
		t.Fatal(err)
	}
	most := watch(t, b.sidecar)
	held, endured := false, false
	for try := 0; try < floodTries && !held; try++ {
		if try > 0 || b.calm == nil { // what was calm before may be long ago
			b.rests(t)
			b.calm = b.latency(t, nil)
		}
		began := cpu(t, b.sidecar)
		storm := b.latency(t, strike)
		t.Logf("p99 %v before, %v during; processor %v", b.calm, storm, cpu(t, b.sidecar)-began)
		held = true
		alive := true
		for i, p := range storm {
			held = held && p <= floodFactor*b.calm[i]+more
			alive = alive && p <= floodFactor*b.calm[i]+floodWorst
		}
		endured = endured || alive
	}
	switch {
	case !endured:
		t.Error("the victims get no turn")
	case !held:
		t.Log("the victims wait longer than on a quiet machine")
	}
	memory := most() - before
	t.Logf("memory %+d KiB", memory>>10)
	if memory > floodMemory {
		t.Errorf("memory grew by %d KiB", memory>>10)
	}
	b.rests(t)
}

// rests waits until the sidecar has nothing to do.
func (b *battlefield) rests(t *testing.T) {
	t.Helper()
	if !within(soon, func() bool {
		began := cpu(t, b.sidecar)
		pause(250 * time.Millisecond)
		return cpu(t, b.sidecar)-began <= floodRest
	}) {
		t.Error("the sidecar does not come to rest")
	}
}

// latency returns each victim's p99 while strike goes on.
func (b *battlefield) latency(t *testing.T, strike func(context.Context) error) []time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	for range floodConns {
		if strike == nil {
			break
		}
		attackers.Go(func() {
			for ctx.Err() == nil {
				if err := strike(ctx); refused(err) {
					return
				}
				pause(floodPause)
			}
		})
	}
	got := make([]time.Duration, len(b.victims))
	var sufferers sync.WaitGroup
	for i, v := range b.victims {
		sufferers.Go(func() {
			latencies, err := v.suffers(t.Context(), floodSpan)
			if err != nil {
				t.Errorf("a victim failed: %.300v", err)
			}
			got[i] = p99(latencies)
		})
	}
	sufferers.Wait()
	cancel()
	attackers.Wait()
	return got
}

// refused reports whether nothing listens any more.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func TestMeshFloodsFromUpstream(t *testing.T) {
	mesh := hall(t)
	pods := mesh.Pods("caller", "server")
	caller := pods[0]
	outside := mesh.PlainPod("outside")
	list := traps()
	if err := mesh.Apply("traps.yaml", outsideService("trap", "10.96.3.8", outside, firstTrap, len(list))); err != nil {
		t.Fatal(err)
	}
	knows(t, caller, "trap", firstTrap+len(list)-1)
	field := &battlefield{sidecar: caller, victims: []*victim{
		newVictim(t, caller, "http://server:80/", false),
		newVictim(t, caller, "http://server:80/", true),
	}}
	for i, tr := range list {
		t.Run(tr.name, func(t *testing.T) {
			l, err := outside.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", firstTrap+i))
			if err != nil {
				t.Fatal(err)
			}
			var first sync.Once
			wait := tr.lay(t.Context(), l, func(p *peer, err error) {
				first.Do(func() { judge(t, p, err, tr.ends, tr.code) })
			})
			defer wait()
			defer l.Close()
			url := fmt.Sprintf("http://trap:%d/", firstTrap+i)
			if err := tr.ask(t.Context(), caller, url); err != nil {
				t.Logf("whoever asked got %v", err)
			}
			field.holds(t, floodLatency, func(ctx context.Context) error { return tr.ask(ctx, caller, url) })
		})
	}
}

// ask sends a request into the trap, for four seconds at most.
func (tr *trap) ask(ctx context.Context, pod *testmesh.Pod, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if tr.upload {
		method, body = http.MethodPost, io.LimitReader(zeros{}, 200<<20)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	resp, err := pod.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if tr.unread {
		<-ctx.Done()
		return nil
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(fmt.Errorf("status %d", resp.StatusCode), err)
}

// zeros is a body without end.
type zeros struct{}

// Read fills b.
func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
