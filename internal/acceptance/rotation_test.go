package acceptance_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// presented returns the certificate a pod's sidecar shows to a TLS peer.
func presented(t *testing.T, mesh *testmesh.Mesh, from, to *testmesh.Pod, port string) (*x509.Certificate, error) {
	t.Helper()
	raw, err := tryDial(t, from, net.JoinHostPort(to.Addr().String(), port))
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	leaf, err := mesh.CA.Leaf("spiffe://cluster.local/ns/town/sa/tester", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, &tls.Config{
		Certificates: []tls.Certificate{leaf}, NextProtos: []string{"istio"}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // the name is a SPIFFE id; the chain is checked by the callers that care
	})
	if err := c.HandshakeContext(t.Context()); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func serial(t *testing.T, mesh *testmesh.Mesh, from, to *testmesh.Pod) string {
	t.Helper()
	cert, err := presented(t, mesh, from, to, "3308")
	if err != nil {
		t.Fatalf("handshake with %s: %v", to.Name(), err)
	}
	return cert.SerialNumber.Text(16)
}

func TestMeshCertificatesRotateUnderLoad(t *testing.T) {
	const life = 20 * time.Second
	mesh := town(t, testmesh.WithCertTTL(life))
	apply(t, mesh, "strict", peerAuthentication("STRICT", ""))
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("prober")
	tcp := dial(t, client, "solo:3308")
	if err := echoes(tcp); err != nil {
		t.Fatal(err)
	}

	t.Run("three rotations at 1000 requests a second", func(t *testing.T) {
		running := startLoad(t, client, "http://solo/", 1000)
		for range 3 {
			old := serial(t, mesh, plain, solo)
			eventually(t, "another certificate", func() bool { return serial(t, mesh, plain, solo) != old })
		}
		if err := echoes(tcp); err != nil {
			t.Errorf("the long connection: %v", err)
		}
		y := running.end()
		if y.bad() > 0 {
			t.Errorf("requests failed: %v", y)
		}
		t.Log(y)
	})
	t.Run("the key changes with the certificate", func(t *testing.T) {
		first, err := presented(t, mesh, plain, solo, "3308")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "another certificate", func() bool { return serial(t, mesh, plain, solo) != first.SerialNumber.Text(16) })
		second, err := presented(t, mesh, plain, solo, "3308")
		if err != nil {
			t.Fatal(err)
		}
		if string(first.RawSubjectPublicKeyInfo) == string(second.RawSubjectPublicKeyInfo) {
			t.Error("the rotated certificate has the old key")
		}
	})
	t.Run("istiod down at rotation time", func(t *testing.T) {
		running := startLoad(t, client, "http://solo/", 200)
		kill(t, mesh)
		old := serial(t, mesh, plain, solo)
		cert, err := presented(t, mesh, plain, solo, "3308")
		if err != nil {
			t.Fatal(err)
		}
		// Half of the life is past rotation time; the old one still serves.
		for time.Until(cert.NotAfter) > 4*time.Second {
			if got := serial(t, mesh, plain, solo); got != old {
				t.Fatal("a new certificate without istiod")
			}
			pause(500 * time.Millisecond)
		}
		y := running.end()
		if y.bad() > 0 {
			t.Errorf("before expiry, requests failed: %v", y)
		}
		pause(time.Until(cert.NotAfter) + time.Second)
		if err := echoes(tcp); err != nil {
			t.Errorf("an established connection after expiry: %v", err)
		}
		start(t, mesh)
		eventually(t, "requests succeed with a new certificate", func() bool {
			return client.Get("http://solo/").Status == 200 && serial(t, mesh, plain, solo) != old
		})
		healed := startLoad(t, client, "http://solo/", 200)
		pause(time.Second)
		healed.lossless(t, 50)
	})
}
