//go:build oracle

package oracle_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
	"github.com/outrigger-mesh/outrigger/upstream"
	"github.com/outrigger-mesh/outrigger/xds"
	"github.com/outrigger-mesh/outrigger/xds/compile"
	"github.com/outrigger-mesh/outrigger/xds/wire"
)

// side is one proxy with an origin of its own.
type side struct {
	name   string
	ports  map[string]int // listeners and origins
	tcp    map[string]int // TCP listeners by cluster
	origin *origin
	log    string
	pki    *pki
}

// pki is shared by both sides.
type pki struct {
	ca             *mtlstest.CA
	dir            string
	sds            string
	client, origin tls.Certificate
	roots          *x509.CertPool
	own            *mtls.Material
}

const trust = "spiffe://cluster.local/ns/shop/sa/"

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{ca: mtlstest.NewCA(t, "cluster.local"), dir: t.TempDir()}
	p.client = p.pair(t, "client", "client.example", "second.example")
	p.origin = p.pair(t, "origin")
	p.roots = x509.NewCertPool()
	p.roots.AppendCertsFromPEM(p.ca.RootPEM())
	chain, key := p.ca.IssuePEM(func(c *x509.Certificate) { c.URIs = []*url.URL{spiffe(t, "web")} })
	write := func(name string, b []byte) string {
		file := filepath.Join(p.dir, name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	certFile, keyFile, rootFile := write("cert.pem", chain), write("key.pem", key), write("root.pem", p.ca.RootPEM())
	type m = map[string]any
	kind := "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	secret := func(file string, resource m) string {
		resource["@type"] = kind
		b, err := json.Marshal(m{"resources": []m{resource}})
		if err != nil {
			t.Fatal(err)
		}
		return write(file, b)
	}
	secret("default.json", m{"name": "default", "tls_certificate": m{"certificate_chain": m{"filename": certFile}, "private_key": m{"filename": keyFile}}})
	secret("ROOTCA.json", m{"name": "ROOTCA", "validation_context": m{"trusted_ca": m{"filename": rootFile}}})
	p.sds = p.dir
	var err error
	if p.own, err = mtls.NewKeyPair(chain, key); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pki) pair(t *testing.T, account string, dns ...string) tls.Certificate {
	t.Helper()
	chain, key := p.ca.IssuePEM(func(c *x509.Certificate) { c.URIs, c.DNSNames = []*url.URL{spiffe(t, account)}, dns })
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func spiffe(t *testing.T, account string) *url.URL {
	t.Helper()
	u, err := url.Parse(trust + account)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func newSide(t *testing.T, name string, p *pki) *side {
	t.Helper()
	s := &side{name: name, pki: p, ports: map[string]int{}, tcp: map[string]int{}, log: filepath.Join(t.TempDir(), "access.log")}
	s.origin = newOrigin(t, p)
	s.ports["origin"], s.ports["origintls"] = s.origin.port(), s.origin.tlsPort()
	s.ports["hole"] = blackHole(t)
	var held []net.Listener
	hold := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		return portOf(l)
	}
	for _, n := range []string{"out", "in", "intls", "timeouts", "act", "dead"} {
		s.ports[n] = hold()
	}
	for _, n := range []string{"origin", "dead", "none", "hole", "tls", "badtls", "unknown"} {
		s.tcp[n] = hold()
	}
	for _, l := range held {
		_ = l.Close()
	}
	return s
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// blackHole listens with a backlog that is full, so that connecting takes for ever.
func blackHole(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := sa.(*syscall.SockaddrInet4).Port
	for {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 100*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// bootstrap renders the configuration.
func (s *side) bootstrap(t *testing.T) []byte {
	t.Helper()
	type host struct {
		Name string
		At   []int
	}
	tm := template.New("bootstrap.json.tmpl").Funcs(template.FuncMap{
		"hosts":   func(name string, at int) host { return host{name, []int{at}} },
		"strings": func(s ...string) []string { return s },
		"tlsport": func(name string) string {
			if name == "plaintls" {
				return "origin"
			}
			return "origintls"
		},
		"pair": func(cluster string, root any) map[string]any { return map[string]any{"Cluster": cluster, "Root": root} },
	})
	tm = template.Must(tm.ParseFiles("testdata/bootstrap.json.tmpl", "testdata/act.json.tmpl"))
	var b bytes.Buffer
	if err := tm.Execute(&b, map[string]any{"Ports": s.ports, "TCP": s.tcp, "Log": s.log, "SDS": s.pki.sds}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// startEnvoy runs the oracle until the test ends.
func startEnvoy(t *testing.T, binary string, p *pki) *side {
	t.Helper()
	s := newSide(t, "envoy", p)
	runEnvoy(t, binary, s.bootstrap(t))
	s.await(t)
	return s
}

// runEnvoy runs Envoy with a configuration until the test ends.
func runEnvoy(t *testing.T, binary string, bootstrap []byte) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "envoy.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-c", file, "--concurrency", "1", "--use-dynamic-base-id", "--file-flush-interval-msec", "20", "-l", "error")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b, _ := os.ReadFile(out.Name())
		if len(b) > 0 {
			t.Logf("envoy said:\n%s", b)
		}
		_ = out.Close()
	})
}

// startOutrigger runs the proxy in this process until the test ends.
func startOutrigger(t *testing.T, p *pki) *side {
	t.Helper()
	s := newSide(t, "outrigger", p)
	runOutrigger(t, p, s.bootstrap(t))
	s.await(t)
	return s
}

// runOutrigger serves a configuration in this process until the test ends.
func runOutrigger(t *testing.T, p *pki, bootstrap []byte) *compile.Compiler {
	t.Helper()
	var boot bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(bootstrap, &boot); err != nil {
		t.Fatalf("%v in\n%s", err, bootstrap)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	store, err := xds.NewStore(compile.Rules())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	checker, err := wire.NewChecker(compile.Rules())
	if err != nil {
		t.Fatal(err)
	}
	secrets := mtls.NewSecrets(log)
	secrets.Get(mtls.WorkloadCert).Update(p.own)
	secrets.Get(mtls.WorkloadRoots).Update(p.ca.Trust())
	listeners := proxy.NewListeners(proxy.Options{Logger: log, HoldTime: time.Second})
	outputs := accesslog.NewOutputs(accesslog.OutputsConfig{Logger: log})
	reaper := upstream.NewReaper()
	compiler := compile.New(compile.Options{
		Store: store, Checker: checker, Secrets: secrets, Listeners: listeners, Outputs: outputs,
		Cluster: upstream.Options{Reaper: reaper, Logger: log}, Logger: log, Address: ownAddr(t),
	})
	store.Judge(compiler.Check)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = outputs.Run(ctx) })
	t.Cleanup(func() {
		listeners.Close()
		compiler.Close(ctx)
		cancel()
		wg.Wait()
		_ = reaper.Close()
	})
	push(t, store, compiler, xds.TypeCluster, messages(boot.GetStaticResources().GetClusters()))
	push(t, store, compiler, xds.TypeListener, messages(boot.GetStaticResources().GetListeners()))
	return compiler
}

// ownAddr is the address that Envoy takes for its own: the first that is not loopback.
func ownAddr(t *testing.T) netip.Addr {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return netip.MustParseAddr(n.IP.String())
		}
	}
	return netip.MustParseAddr("127.0.0.1")
}

type named interface {
	proto.Message
	GetName() string
}

func messages[M named](in []M) []named {
	var out []named
	for _, m := range in {
		out = append(out, m)
	}
	return out
}

func push(t *testing.T, store *xds.Store, c *compile.Compiler, typeURL string, all []named) {
	t.Helper()
	batch, err := store.Begin(typeURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := batch.Add([]byte(m.GetName()), body); err != nil {
			t.Fatalf("%s: %v", m.GetName(), err)
		}
	}
	change, err := batch.Commit("1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(change); err != nil {
		t.Fatal(err)
	}
}

// await waits until every listener takes connections.
func (s *side) await(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, n := range []string{"out", "in", "intls", "timeouts", "act"} {
		for {
			c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(s.ports[n])).String())
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v", s.name, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// lines groups the access log's lines by the downstream's address.
func (s *side) lines(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		addr, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		out[addr] = append(out[addr], rest)
	}
	return out
}
