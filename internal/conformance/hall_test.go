package conformance_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/build"
)

// soon bounds the wait for what should happen at once, long for a busy machine.
const soon = time.Minute

// Policies of the mesh.
const (
	strict = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: hall }
spec: { mtls: { mode: STRICT } }
`
	clearText = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: clear, namespace: hall }
spec: { host: "*.hall.svc.cluster.local", trafficPolicy: { tls: { mode: DISABLE } } }
`
)

// Tools, by the module that pins them.
const (
	h2specModule  = "internal/conformance/h2spec"
	interopModule = "internal/conformance/interop"
	istioModule   = "internal/testmesh/istiod"
)

// hall starts a mesh with the services of testdata.
func hall(t *testing.T, opts ...testmesh.Option) *testmesh.Mesh {
	t.Helper()
	return testmesh.Start(t, "testdata/hall", opts...)
}

// tools returns the folder of foreign programs, built if they are not there.
func tools(t *testing.T, list ...build.Tool) string {
	t.Helper()
	testmesh.Require(t)
	dir, err := build.Builder{Progress: func(line string) { t.Log(line) }}.Tools(t.Context(), list...)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// requireTLS makes mutual TLS compulsory for the rest of the test; outside, which
// has no sidecar, is refused at addr from then on.
func requireTLS(t *testing.T, mesh *testmesh.Mesh, outside *testmesh.Pod, addr string) {
	t.Helper()
	policy(t, mesh, "strict.yaml", strict)
	eventually(t, "clear text is refused", func() bool {
		c, err := outside.Dial(t.Context(), "tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		if c.SetDeadline(time.Now().Add(2*time.Second)) != nil {
			return false
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") // a refusal may be quicker
		got, err := io.ReadAll(c)
		return len(got) == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
	})
}

// leaveTLS makes a caller speak clear text for the rest of the test.
func leaveTLS(t *testing.T, mesh *testmesh.Mesh, caller *testmesh.Pod) {
	t.Helper()
	policy(t, mesh, "clear.yaml", clearText)
	eventually(t, "the caller has no cluster with mutual TLS", func() bool {
		dump := caller.Admin("/config_dump")
		return dump.Status == http.StatusOK && !bytes.Contains(dump.Body, []byte("tlsMode-istio"))
	})
}

// policy applies a policy for the rest of the test.
func policy(t *testing.T, mesh *testmesh.Mesh, name, text string) {
	t.Helper()
	if err := mesh.Apply(name, text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mesh.Delete(name); err != nil {
			t.Error(err)
		}
	})
}

// replace puts a foreign program in the place of a pod's application until the
// test ends, and waits for a port of it.
func replace(t *testing.T, pod *testmesh.Pod, port int, argv ...string) {
	t.Helper()
	if err := pod.StopApp(); err != nil {
		t.Fatal(err)
	}
	second(t, pod, port, argv...)
}

// second starts a foreign program in a pod beside what runs there.
func second(t *testing.T, pod *testmesh.Pod, port int, argv ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if out, err := pod.Exec(ctx, 0, argv...); ctx.Err() == nil {
			t.Errorf("%s ended: %v\n%s", argv[0], err, out)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	eventually(t, filepath.Base(argv[0])+" listens", func() bool {
		c, err := pod.Dial(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil && c.Close() == nil
	})
}

// outsideService is a service of HTTP/2 with ports in a row, outside of the mesh.
func outsideService(name, address string, pod *testmesh.Pod, first, ports int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: %s, namespace: hall }
spec:
  hosts: [%[1]s.hall.svc.cluster.local]
  addresses: [%s]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [ { address: %s } ]
  ports:
`, name, address, pod.Addr())
	for i := range ports {
		fmt.Fprintf(&b, "  - { number: %d, name: http2-%d, protocol: HTTP2 }\n", first+i, i)
	}
	return b.String()
}

// knows waits until a pod's sidecar has heard of a port of a service.
func knows(t *testing.T, pod *testmesh.Pod, service string, port int) {
	t.Helper()
	eventually(t, pod.Name()+" knows the service", func() bool {
		dump := pod.Admin("/config_dump")
		return bytes.Contains(dump.Body, fmt.Appendf(nil, "outbound|%d||%s", port, service))
	})
}

// certificate writes a certificate of the mesh's CA for an identity, as a peer
// without sidecar needs it, and returns the names of its files.
func certificate(t *testing.T, mesh *testmesh.Mesh, id string) (cert, key string) {
	t.Helper()
	leaf, err := mesh.CA.Leaf(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range leaf.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	err = errors.Join(
		os.WriteFile(cert, chain, 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !within(soon, ok) {
		t.Fatalf("not within %v: %s", soon, what)
	}
}

// within reports whether ok becomes true in time.
func within(limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(min(limit, 20*time.Millisecond))
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// pause lets a span pass.
func pause(d time.Duration) { _ = within(d, func() bool { return false }) }
