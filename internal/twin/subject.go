package twin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/relay"
	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// Proxy names one of the two.
type Proxy string

// The two, in the order in which they run.
const (
	Outrigger Proxy = "outrigger"
	Envoy     Proxy = "envoy"
)

const (
	proxyDir   = "/etc/istio/proxy"
	socketName = "relay"
	// accessLog is in the sidecar's view.
	accessLog = "/var/lib/istio/data/access.log"
	adminPort = 15000
	// outsideRoot is the certificate that outside.example's is signed by.
	outsideRoot = proxyDir + "/outside.pem"

	istiodName = "istiod.istio-system.svc"
	startWait  = 40 * time.Second
)

// subject is a pod whose sidecar is one proxy and then the other.
type subject struct {
	// immutable
	name string
	port int // of the relay that Outrigger comes to
	pod  *testmesh.Pod
	mesh *testmesh.Mesh
	keep *relay.Identity
	root []byte // of outside.example

	// owned by the run
	node   *corev3.Node // what Outrigger said that it is
	relays map[Proxy]*relay.Relay
}

// newSubject makes the pod, with capture rules and without sidecar.
func newSubject(ctx context.Context, mesh *testmesh.Mesh, name string, port int, root []byte) (*subject, error) {
	config, err := json.Marshal(map[string]any{"discoveryAddress": net.JoinHostPort(istiodName, strconv.Itoa(port))})
	if err != nil {
		return nil, err
	}
	pod, err := mesh.AddPod(ctx, name, testmesh.WithoutStart(), testmesh.WithProxyConfig(string(config)))
	if err != nil {
		return nil, err
	}
	s := &subject{name: name, port: port, pod: pod, mesh: mesh, root: root, relays: map[Proxy]*relay.Relay{}}
	if err := errors.Join(pod.StopApp(), os.WriteFile(pod.File(outsideRoot), root, 0o644)); err != nil { //nolint:gosec // public
		return nil, err
	}
	s.keep, err = s.identity()
	return s, err
}

// identity is the certificate that the pod's Envoy gets.
func (s *subject) identity() (*relay.Identity, error) {
	cert, err := s.mesh.CA.Leaf(s.pod.Identity(), 24*time.Hour)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, certPEM(der)...)
	}
	return &relay.Identity{
		Chain: chain, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), Roots: s.mesh.CA.Root(),
	}, nil
}

// newRelay returns a relay for the pod's next sidecar. Outrigger comes to it as to
// istiod, by TCP, Envoy by a Unix socket.
func (s *subject) newRelay(p Proxy, alter func(proto.Message) string) (*relay.Relay, error) {
	istiod, err := s.istiod()
	if err != nil {
		return nil, err
	}
	spec := relay.Spec{
		Istiod: relay.Istiod{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return s.mesh.ControlPlane().Dial(ctx, "tcp", net.JoinHostPort(istiod, "15012"))
			},
			TLS:       &tls.Config{RootCAs: s.mesh.CA.Pool(), ServerName: istiodName, MinVersion: tls.VersionTLS12},
			ClusterID: "Kubernetes",
			Token: func() (string, error) {
				b, err := os.ReadFile(s.pod.File("/var/run/secrets/tokens/istio-token"))
				return strings.TrimSpace(string(b)), err
			},
		},
		Identity: s.keep,
		Roots:    map[string][]byte{"file-root:" + outsideRoot: s.root},
		Alter:    alter,
	}
	if p == Outrigger {
		own, err := s.mesh.CA.Leaf("spiffe://cluster.local/ns/istio-system/sa/istiod", 24*time.Hour, istiodName)
		if err != nil {
			return nil, err
		}
		spec.TLS = &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	}
	return relay.New(spec)
}

// istiod returns the control plane's address.
func (s *subject) istiod() (string, error) {
	addrs, err := s.pod.Lookup(istiodName)
	if err != nil {
		return "", err
	}
	return addrs[0].String(), nil
}

// start starts a proxy in the pod and returns when it has its configuration. Its
// relay serves until ctx ends, and wg waits for it.
func (s *subject) start(ctx context.Context, p Proxy, o startOptions, wg *sync.WaitGroup) error {
	r, err := s.newRelay(p, o.alter)
	if err != nil {
		return err
	}
	s.relays[p] = r
	l, err := s.listen(ctx, p)
	if err != nil {
		return err
	}
	wg.Go(func() { _ = r.Serve(ctx, l) }) // ends with ctx
	if err := os.RemoveAll(s.pod.File(accessLog)); err != nil {
		return err
	}
	if p == Outrigger {
		err = s.pod.StartSidecar()
	} else {
		err = s.startEnvoy(o.envoy)
	}
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := s.settled(wait, p); err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", p, s.name, err, strings.Join(r.NACKs(), "\n"))
	}
	if p == Outrigger {
		s.node = r.Node()
	}
	return nil
}

// startOptions are the same for all subjects.
type startOptions struct {
	envoy string
	alter func(proto.Message) string
}

// listen opens what the sidecar's relay serves.
func (s *subject) listen(ctx context.Context, p Proxy) (net.Listener, error) {
	if p == Outrigger {
		istiod, err := s.istiod()
		if err != nil {
			return nil, err
		}
		return s.mesh.ControlPlane().Listen(ctx, "tcp", net.JoinHostPort(istiod, strconv.Itoa(s.port)))
	}
	path := s.pod.File(proxyDir + "/" + socketName)
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o666) //nolint:gosec // another user's process connects
}

// startEnvoy starts Envoy as the node that Outrigger was.
func (s *subject) startEnvoy(binary string) error {
	text, err := relay.Bootstrap{Node: s.node, Socket: proxyDir + "/" + socketName, AdminPort: adminPort}.JSON()
	if err != nil {
		return err
	}
	const file = proxyDir + "/envoy.json"
	if err := os.WriteFile(s.pod.File(file), text, 0o644); err != nil { //nolint:gosec // no secret in it
		return err
	}
	return s.pod.StartOther(binary, []string{
		"-c", file, "--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "20", "-l", "warning",
	}, nil)
}

// settled waits until the proxy serves with all that istiod has for it.
func (s *subject) settled(ctx context.Context, p Proxy) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.live(ctx, p)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.pod.SidecarDone():
			return fmt.Errorf("ended: %s", tail(s.pod.SidecarLog()))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w\n%s", ctx.Err(), err, tail(s.pod.SidecarLog()))
		}
	}
}

// live reports why the proxy does not serve yet.
func (s *subject) live(ctx context.Context, p Proxy) error {
	if p == Outrigger {
		return s.pod.Ready(ctx)
	}
	if r := s.pod.Admin("/ready"); r.Status != http.StatusOK {
		return fmt.Errorf("/ready: %v", r)
	}
	stats, err := s.pod.Stats()
	if err != nil {
		return err
	}
	for _, name := range []string{"cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected"} {
		if n := stats[name]; n != "0" {
			return fmt.Errorf("%s is %q", name, n)
		}
	}
	for _, name := range []string{"cluster_manager.cds.update_success", "listener_manager.lds.update_success"} {
		if stats[name] == "0" || stats[name] == "" {
			return fmt.Errorf("%s is %q", name, stats[name])
		}
	}
	return nil
}

// stop ends the proxy.
func (s *subject) stop() error { return s.pod.StopSidecar(syscall.SIGKILL) }

// tail returns the end of a log.
func tail(text string) string { return text[max(0, len(text)-4000):] }
