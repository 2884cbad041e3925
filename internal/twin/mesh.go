package twin

import (
	"context"
	"crypto/tls"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

//go:embed mesh
var files embed.FS

// logFields are what the access log tells, in order. The address of the client's
// connection comes first, since it tells whose line it is.
var logFields = []string{
	"method=%REQ(:METHOD)%", "path=%REQ(:PATH)%", "original=%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol=%PROTOCOL%",
	"code=%RESPONSE_CODE%", "flags=%RESPONSE_FLAGS%", "details=%RESPONSE_CODE_DETAILS%", "termination=%CONNECTION_TERMINATION_DETAILS%",
	"failure=%UPSTREAM_TRANSPORT_FAILURE_REASON%", "received=%BYTES_RECEIVED%", "sent=%BYTES_SENT%", "duration=%DURATION%",
	"service_time=%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "xff=%REQ(X-FORWARDED-FOR)%", "agent=%REQ(USER-AGENT)%",
	"request_id=%REQ(X-REQUEST-ID)%", "authority=%REQ(:AUTHORITY)%", "upstream_host=%UPSTREAM_HOST%", "cluster=%UPSTREAM_CLUSTER_RAW%",
	"upstream_local=%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "local=%DOWNSTREAM_LOCAL_ADDRESS%", "remote=%DOWNSTREAM_REMOTE_ADDRESS%",
	"sni=%REQUESTED_SERVER_NAME%", "route=%ROUTE_NAME%", "attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "grpc=%GRPC_STATUS%",
	"content_type=%RESP(CONTENT-TYPE)%", "tls=%DOWNSTREAM_TLS_VERSION%", "peer=%DOWNSTREAM_PEER_URI_SAN%", "own=%DOWNSTREAM_LOCAL_URI_SAN%",
	"upstream_peer=%UPSTREAM_PEER_URI_SAN%", "chain=%FILTER_CHAIN_NAME%", "cipher=%DOWNSTREAM_TLS_CIPHER%",
	"shaken=%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", "subject=%DOWNSTREAM_PEER_SUBJECT%",
}

func meshConfig() string {
	return `trustDomain: cluster.local
accessLogFile: ` + accessLog + `
accessLogFormat: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%\t` + strings.Join(logFields, `\t`) + `\n"
enableTracing: false
outboundTrafficPolicy: { mode: ALLOW_ANY }
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
`
}

// The pods: subjects run a proxy, those in plain are servers and a client.
var (
	subjectNames = []string{"client", "closed", "server", "strict", "guarded"}
	plainNames   = []string{"web-1", "web-2", "bare", "caller"}
)

// firstRelayPort is the relay's port of the first subject, in istiod's namespace.
const firstRelayPort = 15100

// town is the mesh with its servers.
type town struct {
	mesh     *testmesh.Mesh
	subjects []*subject
	pods     map[string]*testmesh.Pod
	origin   *origin
	foreign  *pki.CA
}

// build brings up the mesh, without a proxy.
func build(ctx context.Context, c Config) (*town, error) {
	dir, err := fs.Sub(files, "mesh")
	if err != nil {
		return nil, err
	}
	mesh, err := testmesh.Up(ctx, testmesh.Config{FS: dir, MeshConfig: meshConfig(), BinDir: c.BinDir, Progress: c.Progress})
	if err != nil {
		return nil, err
	}
	t := &town{mesh: mesh, pods: map[string]*testmesh.Pod{}, origin: newOrigin()}
	if err := t.populate(ctx); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *town) close() error {
	t.origin.close()
	return t.mesh.Close()
}

// populate makes pods and servers.
func (t *town) populate(ctx context.Context) error {
	var err error
	if t.foreign, err = pki.NewCA("nobody's"); err != nil {
		return err
	}
	if err := t.certificates(); err != nil {
		return err
	}
	var mu sync.Mutex
	g, ctx2 := errgroup.WithContext(ctx)
	t.subjects = make([]*subject, len(subjectNames))
	for i, name := range subjectNames {
		g.Go(func() error {
			s, err := newSubject(ctx2, t.mesh, name, firstRelayPort+i, t.foreign.Root())
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			t.subjects[i], t.pods[name] = s, s.pod
			return nil
		})
	}
	for _, name := range plainNames {
		g.Go(func() error {
			pod, err := t.mesh.AddPod(ctx2, name, testmesh.WithoutSidecar())
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			t.pods[name] = pod
			return pod.StopApp()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := t.reachable(ctx); err != nil {
		return err
	}
	return t.serve(ctx)
}

// reachable makes the services' own addresses those of a pod, so that what the
// proxies pass through unchanged arrives: the kernel may take a second to say that
// an address is not there.
func (t *town) reachable(ctx context.Context) error {
	const services = "10.96.0.0/16"
	run := func(argv ...string) error {
		if out, err := exec.CommandContext(ctx, "ip", argv...).CombinedOutput(); err != nil { //nolint:gosec // fixed words
			return fmt.Errorf("ip %s: %w: %s", strings.Join(argv, " "), err, out)
		}
		return nil
	}
	bare := t.pods["bare"]
	return errors.Join(
		run("-n", t.mesh.ControlPlane().Name(), "route", "add", services, "via", bare.Addr().String()),
		run("-n", bare.NetNS().Name(), "route", "add", "local", services, "dev", "lo"),
	)
}

// certificates makes what the servers show.
func (t *town) certificates() error {
	const day = 24 * time.Hour
	mesh := []string{"istio-http/1.1", "istio-h2", "h2", "http/1.1", "istio"}
	for kind, of := range map[string]struct {
		ca     *pki.CA
		id     string
		hosts  []string
		alpn   []string
		mutual bool
		valid  time.Duration
	}{
		"web":      {t.mesh.CA, "spiffe://cluster.local/ns/twin/sa/web", nil, mesh, true, day},
		"impostor": {t.mesh.CA, "spiffe://cluster.local/ns/twin/sa/impostor", nil, mesh, true, day},
		"stranger": {t.foreign, "spiffe://cluster.local/ns/twin/sa/web", nil, mesh, true, day},
		"expired":  {t.mesh.CA, "spiffe://cluster.local/ns/twin/sa/web", nil, mesh, true, -time.Second},
		"other":    {t.mesh.CA, "spiffe://cluster.local/ns/twin/sa/other", []string{"a.example", "b.example"}, mesh, true, day},
		"outside":  {t.foreign, "spiffe://outside", []string{"outside.example"}, []string{"h2", "http/1.1"}, false, day},
	} {
		cert, err := of.ca.Leaf(of.id, of.valid, of.hosts...)
		if err != nil {
			return err
		}
		config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: of.alpn, MinVersion: tls.VersionTLS12}
		if of.mutual {
			config.ClientCAs, config.ClientAuth = t.mesh.CA.Pool(), tls.RequireAndVerifyClientCert
		}
		t.origin.certs[kind] = config
	}
	return nil
}

// serve opens the servers' ports.
func (t *town) serve(ctx context.Context) error {
	type port struct {
		number         int
		protocol, kind string
	}
	web := []port{{8080, "http", "web"}, {8090, "tcp", "web"}, {8443, "http", "outside"}, {8081, "liar", ""}, {8082, "http", "impostor"}, {8083, "http", "stranger"}, {8084, "http", "expired"}, {8085, "http", "other"}, {8086, "mute", ""}}
	app := []port{{8080, "http", ""}, {8081, "http", ""}, {8082, "http", ""}, {8083, "http", ""}, {8084, "tcp", ""}}
	// Ports 80 to 84 are for what is passed to the services' own addresses.
	bare := []port{{80, "http", ""}, {81, "http", ""}, {82, "http", ""}, {83, "http", ""}, {84, "tcp", ""}, {443, "http", "outside"}, {8080, "http", ""}, {8090, "tcp", ""}, {8443, "http", "outside"}}
	var errs []error
	for name, ports := range map[string][]port{"web-1": web, "web-2": web, "bare": bare, "server": app, "strict": app, "guarded": app} {
		for _, p := range ports {
			errs = append(errs, t.origin.serve(ctx, t.pods[name], p.number, p.protocol, p.kind))
		}
	}
	return errors.Join(errs...)
}

// certPEM encodes a certificate.
func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
