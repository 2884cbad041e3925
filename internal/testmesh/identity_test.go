package testmesh_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	capb "istio.io/api/security/v1alpha1"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

func TestMeshCASignsForATokenOnly(t *testing.T) {
	mesh := testmesh.Start(t, shopDir, testmesh.WithCertTTL(5*time.Minute))
	web := mesh.PlainPod("web")
	token, err := mesh.Issuer.Token(pki.ServiceAccount("shop", "web"))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := sign(t, mesh, web, token)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(chain[0]))
	if block == nil {
		t.Fatalf("no PEM: %s", chain[0])
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if got := leaf.URIs[0].String(); got != web.Identity() {
		t.Errorf("got identity %s, want %s", got, web.Identity())
	}
	if left := time.Until(leaf.NotAfter); left > time.Minute {
		t.Errorf("certificate lives %v longer, want a minute", left)
	}
	if got, want := strings.TrimSpace(chain[len(chain)-1]), strings.TrimSpace(string(mesh.CA.Root())); got != want {
		t.Errorf("got root %s, want %s", got, want)
	}

	stranger, err := pki.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := stranger.Token(pki.ServiceAccount("shop", "web"))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{"no token": "", "forged token": forged} {
		if _, err := sign(t, mesh, web, bad); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: got %v, want Unauthenticated", name, err)
		}
	}
}

// sign asks istiod's CA for a certificate from inside a pod.
func sign(t *testing.T, mesh *testmesh.Mesh, pod *testmesh.Pod, token string) ([]string, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///istiod.istio-system.svc:15012",
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: mesh.CA.Pool(), ServerName: "istiod.istio-system.svc"})),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return pod.Dial(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	resp, err := capb.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, &capb.IstioCertificateRequest{
		Csr: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), ValidityDuration: 60,
	})
	return resp.GetCertChain(), err
}

func TestMeshKubernetesObjectsReachIstiod(t *testing.T) {
	mesh := testmesh.Start(t, "")
	const objects = `apiVersion: v1
kind: Service
metadata: { name: orders, namespace: kshop }
spec:
  clusterIP: 10.97.0.10
  clusterIPs: [10.97.0.10]
  selector: { app: orders }
  ports: [{ name: http, port: 80, targetPort: 8080, protocol: TCP }]
---
apiVersion: v1
kind: Pod
metadata: { name: orders-1, namespace: kshop, labels: { app: orders, version: v1 } }
spec: { serviceAccountName: orders, containers: [{ name: orders, ports: [{ containerPort: 8080 }] }] }
status: { phase: Running, podIP: 10.0.20.1, podIPs: [{ ip: 10.0.20.1 }], conditions: [{ type: Ready, status: "True" }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: orders-x, namespace: kshop, labels: { kubernetes.io/service-name: orders } }
addressType: IPv4
ports: [{ name: http, port: 8080, protocol: TCP }]
endpoints:
- { addresses: [10.0.20.1], conditions: { ready: true }, targetRef: { kind: Pod, name: orders-1, namespace: kshop } }
`
	endpoints := func() string {
		text, err := mesh.Debug(t.Context(), "/debug/endpointz")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := mesh.Apply("orders", objects); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, func() bool { return strings.Contains(endpoints(), "10.0.20.1") })
	mesh.PlainPod("orders-1")
	if r := mesh.PlainPod("client").Get("http://orders-1.kshop:8080/"); r.Status != 200 || r.Echo.Pod != "orders-1" {
		t.Errorf("got %v", r)
	}
	if err := mesh.Delete("orders"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, func() bool { return !strings.Contains(endpoints(), "10.0.20.1") })
}

func TestMeshManyServicesAreLoaded(t *testing.T) {
	mesh := testmesh.Start(t, "")
	began := time.Now()
	if err := mesh.Apply("many", testmesh.ManyServices(300, 10)); err != nil {
		t.Fatal(err)
	}
	t.Logf("300 services with 10 endpoints each were loaded after %v", time.Since(began))
}
