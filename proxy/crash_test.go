package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// buggy is a connection whose reads or writes run into a bug.
type buggy struct {
	net.Conn
	reads bool
}

func (b *buggy) Read(p []byte) (int, error) {
	if b.reads {
		panic("a bug in a read")
	}
	return b.Conn.Read(p)
}

func (b *buggy) Write(p []byte) (int, error) {
	if !b.reads {
		panic("a bug in a write")
	}
	return b.Conn.Write(p)
}

// buggyCluster dials such connections to an upstream that reads and says nothing.
func buggyCluster(t *testing.T, reads bool) *upstream.Cluster {
	t.Helper()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	c := upstream.New("outbound|80||buggy", upstream.Options{
		Dial: func(ctx context.Context, from netip.Addr, to netip.AddrPort, ka upstream.KeepAlive) (net.Conn, error) {
			conn, err := upstream.Dial(ctx, from, to, ka)
			if err != nil {
				return nil, err
			}
			return &buggy{conn, reads}, nil
		},
	})
	spec := &upstream.Spec{Name: c.Name(), Kind: upstream.Static}
	c.Publish(spec, lb.NewSet(nil, []lb.EndpointSpec{{Addr: netip.MustParseAddrPort(addr), Weight: 1}}, spec.Policy))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.Close(ctx)
	})
	return c
}

// survives checks that a bug ended a connection, was counted once and left the proxy
// at rest.
func survives(t *testing.T, g *rig, c net.Conn) {
	t.Helper()
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	poll(t, "the panic is counted", func() bool { return g.listeners.Panics.Load() == 1 })
	poll(t, "the connection ends", func() bool { return g.listener.Active() == 0 })
}

func TestABugInARelayEndsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	for name, reads := range map[string]bool{"on the way down": true, "on the way up": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, proxy.NewTCP(proxy.TCPSpec{Clusters: []proxy.WeightedCluster{{Cluster: buggyCluster(t, reads)}}}), newRecords())
			c := g.dial()
			_, _ = io.WriteString(c, "hello")
			survives(t, g, c)
		})
	}
}

func TestABugInADialAheadEndsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	rec := newRecords()
	raw := &proxy.Chain{Name: "raw", Handler: proxy.NewTCP(proxy.TCPSpec{
		Clusters: []proxy.WeightedCluster{{Cluster: buggyCluster(t, true), Weight: 1}}, Observers: []flow.Observer{rec},
	})}
	g := newRigSpec(t, &proxy.ListenerSpec{
		Name: "l", Address: loopback, Bind: true, Inspect: proxy.Inspect{HTTP: true}, Chains: chains(t, raw),
	}, rec)
	survives(t, g, g.dial())
}
