package main

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
	"strings"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/outrigger-mesh/outrigger/bench/report"
	"github.com/outrigger-mesh/outrigger/internal/relay"
	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

const (
	proxyDir   = "/etc/istio/proxy"
	istiodName = "istiod.istio-system.svc"
	adminPort  = 15000
	threads    = "2"
)

// learn runs Outrigger in Envoy's pod once, to see who it says that it is.
func (t *town) learn(ctx context.Context) error {
	pod := t.pods[report.Envoy]
	if err := pod.StartSidecar(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, firstStart)
	defer cancel()
	err := listens(ctx, pod)
	if err == nil {
		t.node, err = nodeOf(pod)
	}
	return errors.Join(err, pod.StopSidecar(syscall.SIGKILL))
}

// nodeOf reads the node out of a sidecar's configuration dump.
func nodeOf(pod *testmesh.Pod) (*corev3.Node, error) {
	reply := pod.Admin("/config_dump?resource=bootstrap")
	if reply.Err == nil && reply.Status != http.StatusOK {
		reply = pod.Admin("/config_dump")
	}
	if reply.Err != nil {
		return nil, reply.Err
	}
	var dump struct {
		Configs []struct {
			Bootstrap struct {
				Node json.RawMessage `json:"node"`
			} `json:"bootstrap"`
		} `json:"configs"`
	}
	if err := json.Unmarshal([]byte(reply.Body), &dump); err != nil {
		return nil, err
	}
	for _, c := range dump.Configs {
		if len(c.Bootstrap.Node) > 0 {
			node := new(corev3.Node)
			return node, protojson.Unmarshal(c.Bootstrap.Node, node)
		}
	}
	return nil, errors.New("no node in the configuration dump")
}

// envoy prepares the start of Envoy in a pod, behind a relay of its own.
func (t *town) envoy(pod *testmesh.Pod) (begin func() error, err error) {
	r, err := t.relay(pod)
	if err != nil {
		return nil, err
	}
	const socket = proxyDir + "/relay"
	path := pod.File(socket)
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.context, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // another user's process connects
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(t.context)
	t.relays.Go(func() { _ = r.Serve(ctx, l) }) // ends with ctx
	text, err := relay.Bootstrap{Node: t.node, Socket: socket, AdminPort: adminPort}.JSON()
	const file = proxyDir + "/envoy.json"
	if err == nil {
		err = os.WriteFile(pod.File(file), text, 0o644) //nolint:gosec // no secret in it
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return func() error {
		err := pod.StartOther(t.world.envoy, []string{"-c", file, "--disable-hot-restart", "--concurrency", threads, "-l", "error"}, nil)
		if err != nil {
			cancel()
			return err
		}
		done := pod.SidecarDone()
		t.relays.Go(func() {
			defer cancel()
			select {
			case <-done:
			case <-ctx.Done():
			}
		})
		return nil
	}, nil
}

func (t *town) relay(pod *testmesh.Pod) (*relay.Relay, error) {
	addrs, err := pod.Lookup(istiodName)
	if err != nil {
		return nil, err
	}
	identity, err := t.identity(pod)
	if err != nil {
		return nil, err
	}
	return relay.New(relay.Spec{
		Identity: identity,
		Istiod: relay.Istiod{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return t.mesh.ControlPlane().Dial(ctx, "tcp", net.JoinHostPort(addrs[0].String(), "15012"))
			},
			TLS:       &tls.Config{RootCAs: t.mesh.CA.Pool(), ServerName: istiodName, MinVersion: tls.VersionTLS12},
			ClusterID: "Kubernetes",
			Token: func() (string, error) {
				b, err := os.ReadFile(pod.File("/var/run/secrets/tokens/istio-token"))
				return strings.TrimSpace(string(b)), err
			},
		},
	})
}

// identity is the certificate that a pod's Envoy gets.
func (t *town) identity(pod *testmesh.Pod) (*relay.Identity, error) {
	cert, err := t.mesh.CA.Leaf(pod.Identity(), 24*time.Hour)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return &relay.Identity{
		Chain: chain, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), Roots: t.mesh.CA.Root(),
	}, nil
}
