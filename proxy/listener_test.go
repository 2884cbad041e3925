package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/proxy"
)

// say is a handler that greets with its name and closes.
type say string

func (s say) ServeConn(_ context.Context, c *proxy.Conn) {
	_, _ = io.WriteString(c, string(s)+" "+c.Flow.Listener+" "+c.Flow.OriginalDst.String())
}

func chains(t testing.TB, def *proxy.Chain, cs ...*proxy.Chain) *proxy.ChainSet {
	t.Helper()
	set, err := proxy.NewChainSet(cs, def)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// captured is a registry with a capturing listener on loopback and whatever else,
// where every connection has the given original destination.
func captured(t *testing.T, dst string, spec *proxy.ListenerSpec, others ...proxy.Entry) string {
	t.Helper()
	ls := proxy.NewListeners(proxy.Options{HoldTime: time.Minute, OriginalDst: func(*net.TCPConn) (netip.AddrPort, error) {
		return netip.MustParseAddrPort(dst), nil
	}})
	l := proxy.NewListener(spec.Name, nil)
	l.Publish(spec)
	if err := ls.Update(append(others, proxy.Entry{Address: loopback, Bind: true, Listener: l})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ls.Close)
	return ls.Addr(loopback).String()
}

func entry(t *testing.T, addr, name string, bind bool) proxy.Entry {
	t.Helper()
	l := proxy.NewListener(name, nil)
	a := netip.MustParseAddrPort(addr)
	l.Publish(&proxy.ListenerSpec{Name: name, Address: a, Chains: chains(t, &proxy.Chain{Handler: say("served")}), UseOriginalDst: true})
	return proxy.Entry{Address: a, Bind: bind, Listener: l}
}

func readAll(t *testing.T, addr string) (string, error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestConnectionIsHandedToTheListenerOfItsDestination(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, dst, want string }{
		{"exact address", "10.0.0.1:80", "served exact 10.0.0.1:80"},
		{"wildcard address", "10.0.0.2:80", "served wildcard 10.0.0.2:80"},
		{"wildcard of the family", "[fd00::1]:80", "served wildcard6 [fd00::1]:80"},
		{"mapped address", "[::ffff:10.0.0.1]:80", "served exact 10.0.0.1:80"},
		{"nobody's address", "10.0.0.1:81", "own virtual 10.0.0.1:81"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := captured(t, tt.dst,
				&proxy.ListenerSpec{Name: "virtual", Address: netip.MustParseAddrPort("0.0.0.0:15001"), UseOriginalDst: true, Chains: chains(t, &proxy.Chain{Handler: say("own")})},
				entry(t, "10.0.0.1:80", "exact", false), entry(t, "0.0.0.0:80", "wildcard", false), entry(t, "[::]:80", "wildcard6", false))
			got, err := readAll(t, addr)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestDirectDialIsRefused(t *testing.T) {
	t.Parallel()
	addr := captured(t, "10.0.0.1:15001",
		&proxy.ListenerSpec{Name: "virtual", Address: netip.MustParseAddrPort("0.0.0.0:15001"), UseOriginalDst: true, Chains: chains(t, &proxy.Chain{Handler: say("own")})})
	c, err := net.Dial("tcp", addr)
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsAreHeldUntilTheFirstConfiguration(t *testing.T) {
	t.Parallel()
	ls := proxy.NewListeners(proxy.Options{HoldTime: time.Minute})
	t.Cleanup(ls.Close)
	l := proxy.NewListener("late", nil)
	if err := ls.Update([]proxy.Entry{{Address: loopback, Bind: true, Listener: l}}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ls.Addr(loopback).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	poll(t, "held", func() bool { return l.Active() == 1 })
	l.Publish(&proxy.ListenerSpec{Name: "late", Chains: chains(t, &proxy.Chain{Handler: say("served")})})
	b, err := io.ReadAll(c)
	if err != nil || len(b) == 0 {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestHeldConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	ls := proxy.NewListeners(proxy.Options{HoldTime: 50 * time.Millisecond, MaxHeld: 1})
	t.Cleanup(ls.Close)
	l := proxy.NewListener("never", nil)
	if err := ls.Update([]proxy.Entry{{Address: loopback, Bind: true, Listener: l}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := readAll(t, ls.Addr(loopback).String()); got != "" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := l.Stats.Refused.Load(); n != 3 {
		t.Errorf("%d were counted as refused", n)
	}
}

func TestEmptyListenerIsFilledOnItsFirstConnection(t *testing.T) {
	t.Parallel()
	var fills atomic.Int32
	ls := proxy.NewListeners(proxy.Options{})
	t.Cleanup(ls.Close)
	set := chains(t, &proxy.Chain{Handler: say("filled")})
	l := proxy.NewListener("lazy", func(_ context.Context, l *proxy.Listener) error {
		fills.Add(1)
		l.Publish(&proxy.ListenerSpec{Name: "lazy", Chains: set})
		return nil
	})
	if err := ls.Update([]proxy.Entry{{Address: loopback, Bind: true, Listener: l}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := readAll(t, ls.Addr(loopback).String()); got == "" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	poll(t, "idle", func() bool { return l.Active() == 0 })
	if fills.Load() != 1 || !l.Unload() {
		t.Errorf("%d fills", fills.Load())
	}
	if got, err := readAll(t, ls.Addr(loopback).String()); got == "" || err != nil || fills.Load() != 2 {
		t.Errorf("got %q, %v after %d fills", got, err, fills.Load())
	}
}

func TestNoChainClosesAndIsRecorded(t *testing.T) {
	t.Parallel()
	rec := newRecords()
	spec := &proxy.ListenerSpec{Name: "l", Address: loopback, Chains: chains(t, nil), Observers: []flow.Observer{rec}}
	g := newRigSpec(t, spec, rec)
	if got, err := readAll(t, g.addr); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if r := g.records.next(t); r.flags != "NR" || r.details != "filter_chain_not_found" {
		t.Errorf("flags %s, details %s", r.flags, r.details)
	}
	if n := g.listener.Stats.NoChain.Load(); n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestUpdateDisturbsOnlyRemovedChains(t *testing.T) {
	t.Parallel()
	h := &idleHandler{served: make(chan *proxy.Conn, 2)}
	stays := &proxy.Chain{Name: "stays", Handler: h}
	goes := &proxy.Chain{Name: "goes", Handler: h, Criteria: proxy.Criteria{ApplicationProtocols: []string{"http/1.1"}}}
	spec := proxy.ListenerSpec{Name: "l", Address: loopback, Inspect: proxy.Inspect{HTTP: true}, Chains: chains(t, stays, goes), DrainTime: 50 * time.Millisecond}
	g := newRigSpec(t, &spec, newRecords())
	plain, web := g.dial(), g.dial()
	_, _ = io.WriteString(plain, "\x00raw bytes")
	onStays := <-h.served
	_, _ = io.WriteString(web, "GET / HTTP/1.1\r\n")
	onGoes := <-h.served
	next := spec
	next.Chains = chains(t, stays)
	g.listener.Publish(&next)
	if b, err := io.ReadAll(web); err != nil && !errors.Is(err, syscall.ECONNRESET) || len(b) != 0 {
		t.Errorf("the connection on the removed chain read %q, %v", b, err)
	}
	if !onGoes.Draining() || onStays.Draining() {
		t.Errorf("draining: removed chain %v, kept chain %v", onGoes.Draining(), onStays.Draining())
	}
	poll(t, "the removed chain's connection has ended", func() bool { return g.listener.Active() == 1 })
	if _, err := io.WriteString(plain, "more"); err != nil {
		t.Errorf("the connection on the kept chain: %v", err)
	}
}

type panics struct{}

func (panics) ServeConn(context.Context, *proxy.Conn) { panic("a bug") }

func TestPanicEndsOneConnectionOnly(t *testing.T) {
	t.Parallel()
	g := newRig(t, panics{}, newRecords())
	for range 2 {
		if got, err := readAll(t, g.addr); got != "" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := g.listeners.Panics.Load(); n != 2 {
		t.Errorf("counted %d panics", n)
	}
}

// starved is a socket whose first accepts find no descriptor.
type starved struct {
	net.Listener
	left atomic.Int32
}

func (s *starved) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

func TestAcceptBacksOffWithoutDescriptors(t *testing.T) {
	t.Parallel()
	s := &starved{}
	s.left.Store(4)
	ls := proxy.NewListeners(proxy.Options{Listen: func(ctx context.Context, a netip.AddrPort, _ bool) (net.Listener, error) {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.String())
		s.Listener = l
		return s, err
	}})
	t.Cleanup(ls.Close)
	l := proxy.NewListener("l", nil)
	l.Publish(&proxy.ListenerSpec{Chains: chains(t, &proxy.Chain{Handler: say("served")})})
	start := time.Now()
	if err := ls.Update([]proxy.Entry{{Address: loopback, Bind: true, Listener: l}}); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t, ls.Addr(loopback).String()); got == "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if took := time.Since(start); took < 5*time.Millisecond {
		t.Errorf("took %v: no back-off", took)
	}
}

func TestByteAtATimeClientsAreInspected(t *testing.T) {
	t.Parallel()
	addr := script(t, func(_ int, c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	web := &proxy.Chain{Name: "web", Handler: say("web"), Criteria: proxy.Criteria{ApplicationProtocols: []string{"http/1.1"}}}
	raw := &proxy.Chain{Name: "raw", Handler: proxy.NewTCP(proxy.TCPSpec{Clusters: []proxy.WeightedCluster{{Cluster: cluster(t, nil, addr)}}})}
	spec := &proxy.ListenerSpec{Name: "l", Address: loopback, Inspect: proxy.Inspect{TLS: true, HTTP: true}, Chains: chains(t, raw, web)}
	g := newRigSpec(t, spec, newRecords())
	slowly := func(text string) (string, error) {
		c := g.dial()
		for i := range len(text) {
			_, _ = io.WriteString(c, text[i:i+1])
			time.Sleep(time.Millisecond) // what makes it slow
		}
		_ = c.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		return string(b), err
	}
	if got, err := slowly("GET /x HTTP/1.1\r\n"); len(got) < 3 || got[:3] != "web" || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("HTTP: got %q, %v", got, err)
	}
	for _, text := range []string{"\x16\x03\x01\x00\x00nonsense", "MAIL FROM nobody\r\nmore"} {
		if got, err := slowly(text); got != text || err != nil {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func TestSilentClientContinuesAfterConfiguredTimeout(t *testing.T) {
	t.Parallel()
	for _, goesOn := range []bool{true, false} {
		spec := &proxy.ListenerSpec{
			Name: "l", Address: loopback, Chains: chains(t, &proxy.Chain{Handler: say("banner")}),
			Inspect: proxy.Inspect{TLS: true, Timeout: 30 * time.Millisecond, ContinueOnTimeout: goesOn},
		}
		g := newRigSpec(t, spec, newRecords())
		if got, err := readAll(t, g.addr); (got != "") != goesOn || err != nil {
			t.Errorf("continue %v: got %q, %v", goesOn, got, err)
		}
	}
}

func TestInspectorsAreOffByPort(t *testing.T) {
	t.Parallel()
	off := func(uint16) bool { return true }
	spec := &proxy.ListenerSpec{
		Name: "l", Address: loopback, Chains: chains(t, &proxy.Chain{Handler: say("banner")}),
		Inspect: proxy.Inspect{TLS: true, HTTP: true, TLSDisabled: off, HTTPDisabled: off},
	}
	if got, err := readAll(t, newRigSpec(t, spec, newRecords()).addr); got == "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

type deny struct{}

func (deny) Accept(*flow.Conn) error { return errors.New("rbac_access_denied_matched_policy[none]") }

func TestConnFilterClosesAndIsRecorded(t *testing.T) {
	t.Parallel()
	rec := newRecords()
	tcp := proxy.NewTCP(proxy.TCPSpec{Observers: []flow.Observer{rec}})
	spec := &proxy.ListenerSpec{Name: "l", Address: loopback, Chains: chains(t, &proxy.Chain{Handler: tcp, Filters: []proxy.ConnFilter{deny{}}})}
	g := newRigSpec(t, spec, rec)
	if got, err := readAll(t, g.addr); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if r := rec.next(t); r.Termination != "rbac_access_denied_matched_policy[none]" {
		t.Errorf("termination %q", r.Termination)
	}
}

func TestUpdateKeepsSocketsAndRetiresListeners(t *testing.T) {
	t.Parallel()
	h := &idleHandler{served: make(chan *proxy.Conn, 1)}
	spec := &proxy.ListenerSpec{Name: "old", Address: loopback, Chains: chains(t, &proxy.Chain{Handler: h}), DrainTime: 30 * time.Millisecond}
	g := newRigSpec(t, spec, newRecords())
	c := g.dial()
	<-h.served
	successor := proxy.NewListener("new", nil)
	successor.Publish(&proxy.ListenerSpec{Name: "new", Chains: chains(t, &proxy.Chain{Handler: say("new")})})
	if err := g.listeners.Update([]proxy.Entry{{Address: loopback, Bind: true, Listener: successor}}); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t, g.addr); err != nil || len(got) < 3 || got[:3] != "new" {
		t.Errorf("got %q, %v", got, err)
	}
	if b, err := io.ReadAll(c); len(b) != 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("retired connection read %q, %v", b, err)
	}
	if err := g.listeners.Update(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", g.addr); err == nil {
		t.Error("the socket of a removed listener is still open")
	}
}

// poll waits for a condition with a bound.
func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("waited in vain: " + what)
}

// portOfBothFamilies finds a port below the range that the system gives to outgoing
// connections, which nobody uses in either family.
func portOfBothFamilies(t *testing.T) uint16 {
	t.Helper()
	for range 100 {
		port := uint16(20000 + rand.IntN(10000))
		four, err := net.Listen("tcp4", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
		if err != nil {
			continue
		}
		six, err := net.Listen("tcp6", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
		_ = four.Close()
		if err == nil {
			_ = six.Close()
			return port
		}
		if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Skip("no IPv6 here: ", err)
		}
	}
	t.Fatal("no port is free in both families")
	return 0
}

func TestDualStackOpensBothFamilies(t *testing.T) {
	t.Parallel()
	port := portOfBothFamilies(t)
	ls := proxy.NewListeners(proxy.Options{DualStack: true})
	t.Cleanup(ls.Close)
	l := proxy.NewListener("virtualOutbound", nil)
	l.Publish(&proxy.ListenerSpec{Chains: chains(t, &proxy.Chain{Handler: say("served")})})
	entries := []proxy.Entry{{Address: netip.AddrPortFrom(netip.IPv4Unspecified(), port), Bind: true, Listener: l}}
	for range 2 { // the second time nothing changes
		if err := ls.Update(entries); err != nil {
			t.Fatal(err)
		}
		for _, ip := range []string{"127.0.0.1", "::1"} {
			addr := netip.AddrPortFrom(netip.MustParseAddr(ip), port).String()
			if got, err := readAll(t, addr); got == "" || err != nil {
				t.Errorf("%s: got %q, %v", ip, got, err)
			}
		}
	}
	if err := ls.Update(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", netip.AddrPortFrom(netip.IPv6Loopback(), port).String()); err == nil {
		t.Error("the twin is still open")
	}
}
