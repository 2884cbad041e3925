package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
	"github.com/outrigger-mesh/outrigger/sock/socktest"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// records collects what observers were shown. Strings are copied, as an observer
// must.
type records struct {
	mu  sync.Mutex
	all []record
	ch  chan record
}

type record struct {
	flow.Record
	method, path, authority, details, flags string
	header                                  httpmsg.Header
}

func newRecords() *records { return &records{ch: make(chan record, 1024)} }

func (o *records) Observe(r *flow.Record) {
	got := record{
		Record: *r, method: strings.Clone(r.Request.Method), path: strings.Clone(r.Request.Path),
		authority: strings.Clone(r.Request.Authority), details: strings.Clone(r.Details), flags: r.Flags.String(),
	}
	if h, ok := r.Request.Head.(*httpmsg.Header); ok {
		got.header = h.Clone()
	}
	o.mu.Lock()
	o.all = append(o.all, got)
	o.mu.Unlock()
	o.ch <- got
}

func (o *records) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

// next waits for one record.
func (o *records) next(t testing.TB) record {
	t.Helper()
	select {
	case r := <-o.ch:
		return r
	case <-time.After(time.Minute):
		t.Fatal("no record within a minute")
		return record{}
	}
}

// rules is a Routes that answers every request with one rule.
type rules struct{ rule *proxy.Rule }

func (r rules) Match(*httpmsg.Request, uint64) (*proxy.Rule, bool) { return r.rule, r.rule != nil }

// rig is a proxy with one listener on loopback.
type rig struct {
	t         testing.TB
	listeners *proxy.Listeners
	listener  *proxy.Listener
	records   *records
	addr      string
	http      *proxy.HTTP // of httpRig
}

// patience is a limit before which even a busy machine does what has to come first.
const patience = time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// newRig serves handler on a chain that takes everything.
func newRig(t testing.TB, handler proxy.ConnHandler, rec *records) *rig {
	t.Helper()
	chains, err := proxy.NewChainSet(nil, &proxy.Chain{Name: "only", Handler: handler})
	if err != nil {
		t.Fatal(err)
	}
	return newRigSpec(t, &proxy.ListenerSpec{Name: "test", Direction: flow.Outbound, Address: loopback, Bind: true, Chains: chains}, rec)
}

func newRigSpec(t testing.TB, spec *proxy.ListenerSpec, rec *records) *rig {
	t.Helper()
	g := &rig{t: t, listeners: proxy.NewListeners(proxy.Options{HoldTime: time.Minute}), records: rec}
	g.listener = proxy.NewListener(spec.Name, nil)
	g.listener.Publish(spec)
	if err := g.listeners.Update([]proxy.Entry{{Address: spec.Address, Bind: true, Listener: g.listener}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.listeners.Close)
	g.addr = g.listeners.Addr(spec.Address).String()
	return g
}

func (g *rig) dial() net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// ask sends raw bytes on a connection of its own and reads one response.
func (g *rig) ask(raw string) *http.Response {
	g.t.Helper()
	c := g.dial()
	if _, err := io.WriteString(c, raw); err != nil {
		g.t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	return readResponse(g.t, bufio.NewReader(c), method)
}

func readResponse(t testing.TB, r *bufio.Reader, method string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

func bodyOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// cluster makes a static cluster of the given addresses.
func cluster(t testing.TB, edit func(*upstream.Spec), addrs ...string) *upstream.Cluster {
	t.Helper()
	c := upstream.New("outbound|80||test", upstream.Options{})
	specs := make([]lb.EndpointSpec, len(addrs))
	for i, a := range addrs {
		specs[i] = lb.EndpointSpec{Addr: netip.MustParseAddrPort(a), Weight: 1}
	}
	spec := &upstream.Spec{Name: c.Name(), Kind: upstream.Static, ConnectTimeout: time.Minute}
	if edit != nil {
		edit(spec)
	}
	c.Publish(spec, lb.NewSet(nil, specs, spec.Policy))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}

// to is a rule that forwards to a cluster.
func to(c *upstream.Cluster) *proxy.Rule {
	return &proxy.Rule{Name: "default", Clusters: []proxy.WeightedCluster{{Cluster: c, Weight: 1}}}
}

// httpRig serves rule over HTTP.
func httpRig(t testing.TB, spec proxy.HTTPSpec, rule *proxy.Rule) *rig {
	t.Helper()
	rec := newRecords()
	spec.Observers = append(spec.Observers, rec)
	h := proxy.NewHTTP(spec)
	h.SetRoutes(rules{rule})
	g := newRig(t, h, rec)
	g.http = h
	return g
}

// rest waits until no exchange is under way: a record is shown before its connection is
// given back.
func (g *rig) rest() {
	g.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(5 * patience); g.http.Stats.Active.Load() > 0; <-tick.C {
		if time.Now().After(late) {
			g.t.Fatal("an exchange does not end")
		}
	}
}

// script is an upstream that plays a function per connection.
func script(t testing.TB, play func(n int, c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]struct{}{}
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = struct{}{}
			mu.Unlock()
			wg.Go(func() {
				defer func() {
					_ = c.Close()
					mu.Lock()
					delete(open, c)
					mu.Unlock()
				}()
				play(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// answer is a script that reads requests with their bodies and gives one answer to
// each.
func answer(text string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

const hello = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

// closedPort is an address at which nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	return socktest.Deaf(t).String()
}
