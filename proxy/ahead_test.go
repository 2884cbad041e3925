package proxy_test

import (
	"bufio"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// sniffed is a port of unknown protocol: HTTP, TLS to be passed on, and a raw chain.
type sniffed struct {
	*rig
	tcp     *upstream.Cluster
	spec    *proxy.ListenerSpec
	dials   atomic.Int32
	silents atomic.Int32 // upstream connections that ended without a byte from us
}

// newSniffed lets play speak for the upstream; what comes before its first read
// decides who speaks first.
func newSniffed(t *testing.T, w *wires, edit func(raw *proxy.Chain), play func(c net.Conn, r *bufio.Reader)) *sniffed {
	t.Helper()
	s := &sniffed{}
	rec := newRecords()
	s.tcp = w.upstream(t, func(_ int, c net.Conn, r *bufio.Reader) {
		s.dials.Add(1)
		play(c, r)
		if n, _ := io.Copy(io.Discard, r); n == 0 {
			s.silents.Add(1)
		}
	})
	raw := &proxy.Chain{Name: "raw", Handler: proxy.NewTCP(proxy.TCPSpec{
		Clusters: []proxy.WeightedCluster{{Cluster: s.tcp, Weight: 1}}, Observers: []flow.Observer{rec}, MaxConnectAttempts: 3,
	}), Criteria: proxy.Criteria{TransportProtocol: proxy.TransportRaw}}
	if edit != nil {
		edit(raw)
	}
	s.spec = &proxy.ListenerSpec{
		Name: "l", Address: loopback, Bind: true, Inspect: proxy.Inspect{TLS: true, HTTP: true},
		Chains: chains(
			t, nil, raw,
			&proxy.Chain{Name: "web", Handler: say("web"), Criteria: proxy.Criteria{TransportProtocol: proxy.TransportRaw, ApplicationProtocols: []string{"http/1.1"}}},
			&proxy.Chain{Name: "tls", Handler: say("tls"), Criteria: proxy.Criteria{TransportProtocol: proxy.TransportTLS}},
		),
	}
	s.rig = newRigSpec(t, s.spec, rec)
	return s
}

// silent dials and says nothing until the upstream was dialled.
func (s *sniffed) silent(t *testing.T) net.Conn {
	t.Helper()
	c := s.dial()
	poll(t, "the upstream is dialled", func() bool { return s.dials.Load() == 1 })
	return c
}

func listens(net.Conn, *bufio.Reader) {}

func greets(c net.Conn, r *bufio.Reader) {
	_, _ = io.WriteString(c, "220 ready\r\n")
	line, _ := r.ReadString('\n')
	_, _ = io.WriteString(c, "250 "+line)
}

func TestServerThatSpeaksFirstIsServedOnASniffedPort(t *testing.T) {
	t.Parallel()
	forEachWire(t, func(t *testing.T, w *wires) {
		t.Helper()
		if w.down {
			t.Skip("a downstream that begins TLS has spoken")
		}
		s := newSniffed(t, w, nil, greets)
		c := s.dial()
		r := bufio.NewReader(c)
		if got, err := r.ReadString('\n'); got != "220 ready\r\n" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		_, _ = io.WriteString(c, "EHLO x\r\n")
		if got, err := r.ReadString('\n'); got != "250 EHLO x\r\n" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		_ = c.Close()
		rec := s.records.next(t)
		if rec.HTTP || rec.Conn.Chain != "raw" || rec.Request.Bytes != 8 || rec.Response.Bytes != 23 || rec.Upstream.Attempts != 1 || rec.Upstream.TLS != w.up {
			t.Errorf("record %+v", rec.Record)
		}
		if n := s.dials.Load(); n != 1 {
			t.Errorf("%d upstream connections", n)
		}
		if st := &s.listener.Stats; st.Ahead.Load() != 1 || st.ServerFirst.Load() != 1 || st.AheadFail.Load() != 0 {
			t.Errorf("counted %d dials, %d first words, %d failures", st.Ahead.Load(), st.ServerFirst.Load(), st.AheadFail.Load())
		}
	})
}

func TestBulkAfterTheServersFirstWord(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	want, _, err := digest(pattern(size, 7))
	if err != nil {
		t.Fatal(err)
	}
	forEachWire(t, func(t *testing.T, w *wires) {
		t.Helper()
		s := newSniffed(t, &wires{ca: w.ca, up: w.up}, nil, func(c net.Conn, _ *bufio.Reader) {
			_, _ = io.Copy(c, pattern(size, 7))
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		})
		if got, n, err := digest(s.dial()); err != nil || n != size || got != want || got == sha256.Sum256(nil) {
			t.Errorf("got %d bytes, %v", n, err)
		}
	})
}

func TestClientThatConnectsEarlyAndWaitsIsInspected(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ says, want string }{
		{"GET / HTTP/1.1\r\n\r\n", "web"},
		{string(clientHello(t)), "tls"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			s := newSniffed(t, &wires{}, nil, listens)
			c := s.silent(t)
			_, _ = io.WriteString(c, tt.says)
			got := make([]byte, 3)
			if _, err := io.ReadFull(c, got); string(got) != tt.want || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			poll(t, "the upstream connection is closed, and had no byte", func() bool { return s.silents.Load() == 1 })
			if st := s.tcp.Stats(); st.CxConnectFail.Load() != 0 || st.CxActive.Load() != 0 {
				t.Errorf("%d failures, %d active", st.CxConnectFail.Load(), st.CxActive.Load())
			}
			if n := s.records.count(); n != 0 {
				t.Errorf("%d TCP records", n)
			}
		})
	}
}

// clientHello is what a TLS client says first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	w := forgedWires(t)
	ours, theirs := net.Pipe()
	go func() { _, _, _ = w.client(t, idDown).Handshake(t.Context(), ours) }()
	t.Cleanup(func() { _ = ours.Close() })
	b := make([]byte, 16<<10)
	_ = theirs.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := theirs.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestRawClientThatSpeaksLateUsesTheDialledConnection(t *testing.T) {
	t.Parallel()
	forEachWire(t, func(t *testing.T, w *wires) {
		t.Helper()
		s := newSniffed(t, &wires{ca: w.ca, up: w.up}, nil, func(c net.Conn, r *bufio.Reader) {
			line, _ := r.ReadString('\n')
			_, _ = io.WriteString(c, "echo "+line)
		})
		c := s.silent(t)
		_, _ = io.WriteString(c, "\x01late\n")
		if got, err := bufio.NewReader(c).ReadString('\n'); got != "echo \x01late\n" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if n := s.dials.Load(); n != 1 {
			t.Errorf("%d upstream connections", n)
		}
	})
}

func TestNothingIsDialledAhead(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*testing.T, *proxy.Chain){
		"where mutual TLS is mandatory": func(_ *testing.T, c *proxy.Chain) {
			c.Criteria.TransportProtocol = proxy.TransportTLS
			c.Criteria.ApplicationProtocols = []string{"istio"}
		},
		"where the raw chain ends TLS":                    func(t *testing.T, c *proxy.Chain) { t.Helper(); c.TLS = forgedWires(t).server(t, idProxy) },
		"where the raw chain is not TCP":                  func(_ *testing.T, c *proxy.Chain) { c.Handler = say("no") },
		"where the chain's policy refuses the connection": func(_ *testing.T, c *proxy.Chain) { c.Filters = []proxy.ConnFilter{deny{}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSniffed(t, &wires{}, func(c *proxy.Chain) { edit(t, c) }, greets)
			c := s.dial()
			_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			if got, err := c.Read(make([]byte, 1)); got != 0 || err == nil || !strings.Contains(err.Error(), "timeout") {
				t.Errorf("read %d bytes, %v", got, err)
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
			if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "web") {
				t.Errorf("HTTP after the silence: got %q", got)
			}
			if n := s.tcp.Stats().CxTotal.Load(); n != 0 {
				t.Errorf("%d upstream connections", n)
			}
		})
	}
}

func TestUpstreamThatCannotBeDialledAheadChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSniffed(t, &wires{}, nil, greets)
	gone := cluster(t, nil, closedPort(t))
	spec := *s.spec
	raw := &proxy.Chain{Name: "raw", Handler: proxy.NewTCP(proxy.TCPSpec{
		Clusters: []proxy.WeightedCluster{{Cluster: gone, Weight: 1}}, Observers: []flow.Observer{s.records},
	})}
	spec.Chains = chains(t, raw, &proxy.Chain{Name: "web", Handler: say("web"), Criteria: proxy.Criteria{ApplicationProtocols: []string{"http/1.1"}}})
	s.listener.Publish(&spec)
	web, other := s.dial(), s.dial()
	poll(t, "both dials have failed", func() bool { return s.listener.Stats.AheadFail.Load() == 2 })
	_, _ = io.WriteString(web, "GET / HTTP/1.1\r\n\r\n")
	if got, _ := io.ReadAll(web); !strings.HasPrefix(string(got), "web") {
		t.Errorf("got %q", got)
	}
	_, _ = io.WriteString(other, "\x01\n")
	if got, _ := io.ReadAll(other); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	if r := s.records.next(t); r.flags != "UF,URX" {
		t.Errorf("flags %s", r.flags)
	}
}

func TestUpstreamThatEndsWithoutAWordLeavesTheClientWaiting(t *testing.T) {
	t.Parallel()
	s := newSniffed(t, &wires{}, nil, func(c net.Conn, _ *bufio.Reader) { _ = c.Close() })
	c := s.silent(t)
	poll(t, "the dialled connection is given back", func() bool { return s.tcp.Stats().CxActive.Load() == 0 })
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "web") {
		t.Errorf("got %q", got)
	}
}

func TestEndpointsAreTriedInTurnForASilentClient(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) { greets(c, r) })
	two := cluster(t, func(s *upstream.Spec) { s.Policy.Kind = lb.RoundRobin }, closedPort(t), addr)
	tcp := proxy.NewTCP(proxy.TCPSpec{Clusters: []proxy.WeightedCluster{{Cluster: two, Weight: 1}}, MaxConnectAttempts: 2})
	g := newRigSpec(t, &proxy.ListenerSpec{
		Name: "l", Address: loopback, Bind: true, Inspect: proxy.Inspect{HTTP: true}, Chains: chains(t, &proxy.Chain{Handler: tcp}),
	}, newRecords())
	for range 4 {
		if got, err := bufio.NewReader(g.dial()).ReadString('\n'); got != "220 ready\r\n" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestSilentConnectionsWithAnUpstreamDrainAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *sniffed){
		"listener":  func(s *sniffed) { go s.listeners.Close() },
		"its chain": func(s *sniffed) { spec := *s.spec; spec.Chains = nil; s.listener.Publish(&spec) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSniffed(t, &wires{}, nil, listens)
			c := s.silent(t)
			end(s)
			if got, _ := io.ReadAll(c); len(got) != 0 {
				t.Errorf("got %q", got)
			}
			poll(t, "the upstream connection is closed, and had no byte", func() bool { return s.silents.Load() == 1 })
		})
	}
}

func TestPolicyThatChangesDuringTheSilenceDecides(t *testing.T) {
	t.Parallel()
	spec := &proxy.ListenerSpec{
		Name: "l", Address: loopback, Bind: true, Inspect: proxy.Inspect{HTTP: true}, Chains: chains(t, nil,
			&proxy.Chain{Name: "old", Handler: say("old"), Criteria: proxy.Criteria{ApplicationProtocols: []string{"http/1.1"}}}),
	}
	g := newRigSpec(t, spec, newRecords())
	c := g.dial()
	poll(t, "the connection waits", func() bool { return g.listener.Active() == 1 })
	next := *spec
	next.Chains = chains(t, nil, &proxy.Chain{Name: "new", Handler: say("new"), Criteria: proxy.Criteria{ApplicationProtocols: []string{"http/1.1"}}})
	g.listener.Publish(&next)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "new") {
		t.Errorf("got %q", got)
	}
}

// forgedWires has an authority of its own.
func forgedWires(t *testing.T) *wires {
	t.Helper()
	return &wires{ca: mtlstest.NewCA(t, "mesh.test")}
}

func TestManySilentClientsAreAllGreeted(t *testing.T) {
	t.Parallel()
	s := newSniffed(t, &wires{}, nil, greets)
	var clients sync.WaitGroup
	for range 200 {
		c := s.dial()
		clients.Go(func() {
			if got, err := bufio.NewReader(c).ReadString('\n'); got != "220 ready\r\n" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			_ = c.Close()
		})
	}
	clients.Wait()
}
