package compile_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/resolve"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/compile"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// rig is a compiler over a store, without a data path in front.
type rig struct {
	t         testing.TB
	store     *xds.Store
	compiler  *compile.Compiler
	listeners *proxy.Listeners
	logged    *strings.Builder
	hosts     string // the file that names are looked up in
}

func newRig(t testing.TB) *rig {
	t.Helper()
	store, err := xds.NewStore(compile.Rules())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	checker, err := wire.NewChecker(compile.Rules())
	if err != nil {
		t.Fatal(err)
	}
	logged := new(strings.Builder)
	log := slog.New(slog.NewTextHandler(logged, nil))
	listeners := proxy.NewListeners(proxy.Options{Listen: noSockets})
	t.Cleanup(listeners.Close)
	hosts := filepath.Join(t.TempDir(), "hosts")
	r := &rig{
		t: t, store: store, listeners: listeners, logged: logged, hosts: hosts,
		compiler: compile.New(compile.Options{
			Store: store, Checker: checker, Secrets: mtls.NewSecrets(log), Listeners: listeners, Logger: log,
			Outputs:  accesslog.NewOutputs(accesslog.OutputsConfig{Logger: log}),
			Resolver: resolve.New(resolve.Options{Hosts: hosts, Conf: "/nonexistent", Port: "1"}),
		}),
	}
	t.Cleanup(func() {
		ended, end := context.WithCancel(context.Background())
		end() // what is under way is not waited for
		r.compiler.Close(ended)
	})
	store.Judge(r.compiler.Check)
	return r
}

// push gives the store and the compiler a recorded push, as the client does.
func (r *rig) push(typeURL, file string) error {
	r.t.Helper()
	batch, err := r.store.Begin(typeURL)
	if err != nil {
		r.t.Fatal(err)
	}
	var refused []string
	for name, body := range recorded(r.t, file) {
		if err := batch.Add([]byte(name), body); err != nil {
			r.compiler.Refused(typeURL, name, body, err)
			refused = append(refused, err.Error())
		}
	}
	change, err := batch.Commit("1")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.compiler.Apply(change); err != nil {
		r.t.Fatal(err)
	}
	if len(refused) > 0 {
		return refusals(refused)
	}
	return nil
}

type refusals []string

func (r refusals) Error() string { return strings.Join(r, "\n") }

// recorded reads the resources of a recorded response.
func recorded(t testing.TB, file string) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var m discoveryv3.DeltaDiscoveryResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	out := make(map[string][]byte)
	for _, res := range m.GetResources() {
		body := res.GetResource().GetValue()
		out[string(wire.Name(body))] = body
	}
	return out
}

func TestRecordedPushCompiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, p := range []struct{ url, file string }{
		{xds.TypeCluster, "web/CDS.pb"}, {xds.TypeEndpoint, "web/EDS.pb"}, {xds.TypeListener, "web/LDS.pb"}, {xds.TypeRoute, "web/RDS.pb"},
	} {
		if err := r.push(p.url, p.file); err != nil {
			t.Errorf("%s: %v", p.file, err)
		}
	}
	l := r.listeners.For(netip.MustParseAddrPort("10.96.0.11:9080"))
	if l == nil || l.Name() != "0.0.0.0_9080" {
		t.Fatalf("got listener %v, want 0.0.0.0_9080", l)
	}
	if l.Spec() != nil {
		t.Error("a listener without a socket was built before its first connection")
	}
}

// noSockets stands in for the kernel: it gives listeners that nobody can reach.
func noSockets(context.Context, netip.AddrPort, bool) (net.Listener, error) {
	return &silent{done: make(chan struct{})}, nil
}

type silent struct {
	once sync.Once
	done chan struct{}
}

func (s *silent) Accept() (net.Conn, error) {
	<-s.done
	return nil, net.ErrClosed
}

func (s *silent) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

func (s *silent) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 15001} }

func TestPolicyThatCannotBeEnforcedIsRefused(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"reviews-v1/LDS.pb": "envoy.filters.http.jwt_authn"} {
		r := newRig(t)
		err := r.push(xds.TypeListener, file)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "filter_chains[") {
			t.Errorf("%s: got %v, want a refusal that names %s and its place", file, err, want)
		}
		l := r.listeners.For(netip.MustParseAddrPort("10.96.0.11:9080"))
		if l == nil {
			t.Errorf("%s: the listeners that can be enforced were not taken over", file)
		}
	}
}
