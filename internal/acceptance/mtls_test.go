package acceptance_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
	"github.com/outrigger-mesh/outrigger/internal/testmesh/pki"
)

// peerAuthentication sets the mode of the namespace, or of solo with exceptions
// for its ports such as "8080: { mode: DISABLE }".
func peerAuthentication(mode, ports string) string {
	text := fmt.Sprintf(`apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: solo, namespace: town }
spec:
  selector: { matchLabels: { app: solo } }
  mtls: { mode: %s }
`, mode)
	if ports != "" {
		text += "  portLevelMtls: { " + ports + " }\n"
	}
	return text
}

// takes reports how a request fares: 200 or not.
func takes(pod *testmesh.Pod, url string) bool {
	r := pod.Get(url)
	return r.Err == nil && r.Status == 200
}

func TestMeshInboundModes(t *testing.T) {
	mesh := town(t)
	pods := mesh.Pods("client", "solo")
	client, solo := pods[0], pods[1]
	plain := mesh.PlainPod("plain")
	direct := "http://" + solo.Addr().String() + ":8080/"
	viaMesh := func() bool { return takes(client, "http://solo/") }
	viaPlain := func() bool { return takes(plain, direct) }
	// encrypted tells how the client's sidecar reached the application.
	encrypted := func() bool {
		r := client.Get("http://solo/")
		return r.Echo != nil && len(r.Echo.Header("x-forwarded-client-cert")) == 1
	}

	plainTCP, meshTCP := dial(t, plain, solo.Addr().String()+":3308"), dial(t, client, "solo:3308")
	longLived := func(t *testing.T) {
		t.Helper()
		if err := echoes(meshTCP); err != nil {
			t.Errorf("the connection under mTLS did not survive: %v", err)
		}
	}

	t.Run("PERMISSIVE takes both", func(t *testing.T) {
		if !viaMesh() || !viaPlain() || !encrypted() {
			t.Errorf("mesh %v, plain %v, encrypted %v", viaMesh(), viaPlain(), encrypted())
		}
		if err := echoes(plainTCP); err != nil {
			t.Error(err)
		}
		longLived(t)
	})
	t.Run("STRICT refuses plaintext", func(t *testing.T) {
		running := startLoad(t, client, "http://solo/", 200)
		apply(t, mesh, "mode", peerAuthentication("STRICT", ""))
		eventually(t, "plaintext is refused", func() bool { return !viaPlain() })
		for _, port := range []string{"8080", "8081", "3308", "3306", "7999"} {
			got, closed := talk(t, plain, net.JoinHostPort(solo.Addr().String(), port), "GET / HTTP/1.1\r\nhost: x\r\n\r\n", soon)
			if got != "" || !closed {
				t.Errorf("port %s: got %q, closed %v, want a closed connection without a byte", port, got, closed)
			}
		}
		if !encrypted() {
			t.Error("the mesh does not use mTLS")
		}
		longLived(t)
		running.lossless(t, 20)
	})
	t.Run("STRICT refuses strangers' certificates", func(t *testing.T) {
		other, err := pki.NewCA("intruder")
		if err != nil {
			t.Fatal(err)
		}
		forged, err := other.Leaf("spiffe://cluster.local/ns/town/sa/client", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		expired, err := mesh.CA.Leaf("spiffe://cluster.local/ns/town/sa/client", -time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := mesh.CA.Leaf("spiffe://other.domain/ns/town/sa/client", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		good, err := mesh.CA.Leaf("spiffe://cluster.local/ns/any/sa/any", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			cert *tls.Certificate
			want bool
		}{{"good", &good, true}, {"none", nil, false}, {"other CA", &forged, false}, {"expired", &expired, false}, {"other trust domain", &foreign, false}} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				err := overTLS(t, plain, solo.Addr().String()+":3308", c.cert, version, "istio")
				if (err == nil) != c.want {
					t.Errorf("certificate %s, %s: got %v, want accepted %v", c.name, tls.VersionName(version), err, c.want)
				}
			}
		}
		for _, alpn := range []string{"h2", "istio-peer-exchange", "istio-http/1.1", "http/1.1"} {
			raw := dial(t, plain, solo.Addr().String()+":8080")
			c := tls.Client(raw, tlsConfig(&good, tls.VersionTLS13, alpn))
			if err := c.HandshakeContext(t.Context()); err == nil {
				got := c.ConnectionState().NegotiatedProtocol
				if got == "istio-peer-exchange" {
					t.Errorf("offered %s: it was accepted", alpn)
				}
				if alpn == "h2" && got != "h2" {
					t.Errorf("offered h2: got %q", got)
				}
			}
		}
	})
	t.Run("port-level PERMISSIVE and DISABLE under STRICT", func(t *testing.T) {
		apply(t, mesh, "mode", peerAuthentication("STRICT", "8080: { mode: PERMISSIVE }, 8081: { mode: DISABLE }"))
		eventually(t, "plaintext passes on 8080", viaPlain)
		eventually(t, "plaintext passes on 8081", func() bool { return takes(plain, strings.Replace(direct, "8080", "8081", 1)) })
		eventually(t, "the mesh still reaches 8081", func() bool { return takes(client, "http://solo:81/") })
		if got, closed := talk(t, plain, solo.Addr().String()+":3308", "x", soon); got != "" || !closed {
			t.Errorf("port 3308 takes plaintext: %q", got)
		}
		if !encrypted() {
			t.Error("the PERMISSIVE port is not reached by mTLS")
		}
		good, err := mesh.CA.Leaf("spiffe://cluster.local/ns/any/sa/any", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		raw := dial(t, plain, solo.Addr().String()+":8081")
		if err := tls.Client(raw, tlsConfig(&good, tls.VersionTLS13, "istio")).HandshakeContext(t.Context()); err == nil {
			t.Error("the DISABLE port makes a TLS handshake")
		}
		longLived(t)
	})
	t.Run("DISABLE takes plaintext only", func(t *testing.T) {
		running := startLoad(t, client, "http://solo/", 200)
		apply(t, mesh, "mode", peerAuthentication("DISABLE", ""))
		eventually(t, "plaintext passes", viaPlain)
		eventually(t, "the mesh goes without mTLS", func() bool { return viaMesh() && !encrypted() })
		eventually(t, "no TLS handshake succeeds", func() bool {
			_, err := presented(t, mesh, plain, solo, "3308")
			return err != nil
		})
		y := running.end()
		// Between istiod's pushes to either side a handshake may meet plaintext.
		if y.bad() > y.Good/10 {
			t.Errorf("requests failed: %v", y)
		}
		t.Log(y)
	})
	t.Run("back to PERMISSIVE", func(t *testing.T) {
		remove(t, mesh, "mode")
		eventually(t, "both pass again", func() bool { return viaPlain() && encrypted() })
		longLived(t)
	})
}

func tlsConfig(cert *tls.Certificate, version uint16, alpn string) *tls.Config {
	c := &tls.Config{
		MinVersion: version, MaxVersion: version, NextProtos: []string{alpn},
		InsecureSkipVerify: true, // the server is checked elsewhere
	}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return c
}

// overTLS connects to an echo port and reports whether it echoes.
func overTLS(t *testing.T, pod *testmesh.Pod, addr string, cert *tls.Certificate, version uint16, alpn string) error {
	t.Helper()
	c := tls.Client(dial(t, pod, addr), tlsConfig(cert, version, alpn))
	defer c.Close()
	if err := c.HandshakeContext(t.Context()); err != nil {
		return err
	}
	return echoes(c)
}

func TestMeshSidecarChecksTheServersIdentity(t *testing.T) {
	mesh := town(t)
	client, script := mesh.Pod("client"), mesh.PlainPod("script") // same address, no sidecar
	serve := func(id string, ca *pki.CA) tls.Certificate {
		cert, err := ca.Leaf(id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	other, err := pki.NewCA("intruder")
	if err != nil {
		t.Fatal(err)
	}
	if err := script.StopApp(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cert tls.Certificate
		want int
	}{
		{"its own", serve("spiffe://cluster.local/ns/town/sa/script", mesh.CA), 200},
		{"another workload's", serve("spiffe://cluster.local/ns/town/sa/web", mesh.CA), 503},
		{"another CA's", serve("spiffe://cluster.local/ns/town/sa/script", other), 503},
		{"another trust domain's", serve("spiffe://evil.example/ns/town/sa/script", mesh.CA), 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan tls.ConnectionState, 16)
			script := script
			scriptTLS(t, script, c.cert, func(conn *tls.Conn) {
				in := bufio.NewReader(conn)
				if _, err := head(in); err != nil {
					return
				}
				seen <- conn.ConnectionState()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
			})
			r := client.Get("http://script/" + strings.ReplaceAll(c.name, " ", "-"))
			if r.Status != c.want {
				t.Fatalf("got %v, want %d", r, c.want)
			}
			if c.want != 200 {
				// The log tells why; the downstream learns nothing of identities.
				if body := string(r.Body); !strings.Contains(body, "remote connection failure") || strings.Contains(body, "spiffe:") {
					t.Errorf("got body %q", body)
				}
				return
			}
			st := <-seen
			if want := "outbound_.80_._.script.town.svc.cluster.local"; st.ServerName != want {
				t.Errorf("got SNI %q, want %q", st.ServerName, want)
			}
			if len(st.PeerCertificates) == 0 || st.PeerCertificates[0].URIs[0].String() != client.Identity() {
				t.Errorf("the client did not show %s", client.Identity())
			}
		})
	}
}

// scriptTLS is script behind a TLS server that asks for certificates.
func scriptTLS(t *testing.T, pod *testmesh.Pod, cert tls.Certificate, f func(*tls.Conn)) {
	t.Helper()
	config := &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
		NextProtos: []string{"istio-http/1.1", "istio"}, MinVersion: tls.VersionTLS12,
	}
	script(t, pod, 8080, func(raw *net.TCPConn) {
		c := tls.Server(raw, config)
		if c.HandshakeContext(t.Context()) == nil {
			f(c)
		}
	})
}
