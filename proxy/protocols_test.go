package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/proxy"
	"github.com/outrigger-mesh/outrigger/upstream"
)

const (
	idDown  = "spiffe://mesh.test/ns/shop/sa/web"
	idProxy = "spiffe://mesh.test/ns/shop/sa/reviews"
	idUp    = "spiffe://mesh.test/ns/shop/sa/ratings"
)

// wires is one cell of the matrix: plain or mutual TLS on either side.
type wires struct {
	ca       *mtlstest.CA
	down, up bool
}

// forEachWire runs a test over {plain, mTLS} downstream × {plain, mTLS} upstream.
func forEachWire(t *testing.T, f func(t *testing.T, w *wires)) {
	t.Helper()
	ca := mtlstest.NewCA(t, "mesh.test")
	for _, down := range []bool{false, true} {
		for _, up := range []bool{false, true} {
			name := map[bool]string{false: "plain", true: "mTLS"}
			t.Run(name[down]+" to "+name[up], func(t *testing.T) {
				t.Parallel()
				f(t, &wires{ca: ca, down: down, up: up})
			})
		}
	}
}

func (w *wires) server(t testing.TB, id string) *mtls.Server {
	t.Helper()
	s, err := mtls.NewServer(mtls.ServerSpec{
		Cert: mtlstest.Secret("default", w.ca.Issue(id, time.Hour)), Roots: mtlstest.Secret("ROOTCA", w.ca.Trust()),
		RequireClientCert: true, ALPN: []string{"http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *wires) client(t testing.TB, id string) *mtls.Client {
	t.Helper()
	c, err := mtls.NewClient(mtls.ClientSpec{
		Cert: mtlstest.Secret("default", w.ca.Issue(id, time.Hour)), Roots: mtlstest.Secret("ROOTCA", w.ca.Trust()),
		SNI: "outbound_.80_._.test", ALPN: []string{"istio-http/1.1", "istio", "http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// upstream plays a script behind the wire.
func (w *wires) upstream(t testing.TB, play func(int, net.Conn, *bufio.Reader)) *upstream.Cluster {
	t.Helper()
	if !w.up {
		return cluster(t, nil, script(t, play))
	}
	server := w.server(t, idUp)
	addr := script(t, func(n int, c net.Conn, _ *bufio.Reader) {
		tc, _, err := server.Handshake(t.Context(), c)
		if err != nil {
			return
		}
		defer tc.Close()
		play(n, tc, bufio.NewReader(tc))
	})
	return cluster(t, func(s *upstream.Spec) { s.Default = upstream.Socket{Name: "tls", TLS: w.client(t, idProxy)} }, addr)
}

// rig serves a handler behind the wire, in a chain as for a permissive port.
func (w *wires) rig(t testing.TB, h proxy.ConnHandler, rec *records) *rig {
	t.Helper()
	overTLS := &proxy.Chain{Name: "mtls", Handler: h, TLS: w.server(t, idProxy), Criteria: proxy.Criteria{
		TransportProtocol: proxy.TransportTLS, ApplicationProtocols: []string{"istio", "istio-http/1.1"},
	}}
	plain := &proxy.Chain{Name: "plain", Handler: h, Criteria: proxy.Criteria{TransportProtocol: proxy.TransportRaw}}
	set, err := proxy.NewChainSet([]*proxy.Chain{overTLS, plain}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newRigSpec(t, &proxy.ListenerSpec{
		Name: "virtualInbound", Direction: flow.Inbound, Address: loopback, Bind: true, Chains: set, Inspect: proxy.Inspect{TLS: true},
	}, rec)
}

func (w *wires) dial(t testing.TB, g *rig) net.Conn {
	t.Helper()
	c := g.dial()
	if !w.down {
		return c
	}
	tc, _, err := w.client(t, idDown).Handshake(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	_ = tc.SetDeadline(time.Now().Add(time.Minute))
	return tc
}

func (w *wires) check(t *testing.T, r *record) {
	t.Helper()
	if r.Conn.TLS.Established != w.down || r.Upstream.TLS != w.up {
		t.Errorf("record: TLS downstream %v upstream %v", r.Conn.TLS.Established, r.Upstream.TLS)
	}
	if w.down && (r.Conn.TLS.Peer.URI() != idDown || r.Conn.TLS.SNI != "outbound_.80_._.test") {
		t.Errorf("downstream peer %q, SNI %q", r.Conn.TLS.Peer.URI(), r.Conn.TLS.SNI)
	}
	if w.up && r.Upstream.Peer.URI() != idUp {
		t.Errorf("upstream peer %q", r.Upstream.Peer.URI())
	}
}

func TestHTTPOverEveryWire(t *testing.T) {
	t.Parallel()
	forEachWire(t, func(t *testing.T, w *wires) {
		rec := newRecords()
		h := proxy.NewHTTP(proxy.HTTPSpec{
			Direction: flow.Inbound, Observers: []flow.Observer{rec},
			Request: proxy.RequestSpec{ClientCert: proxy.CertAppendForward, CertDetails: proxy.CertDetails{Subject: true, URI: true, DNS: true}},
		})
		h.SetRoutes(rules{to(w.upstream(t, echoHead("")))})
		g := w.rig(t, h, rec)
		c := w.dial(t, g)
		r := bufio.NewReader(c)
		for range 3 {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: By=other\r\n\r\n")
			head := bodyOf(t, readResponse(t, r, "GET"))
			got := rec.next(t)
			w.check(t, &got)
			if !w.down {
				if strings.Contains(head, "client-cert") || !strings.Contains(head, "x-forwarded-proto: http\n") {
					t.Errorf("got %s", head)
				}
				continue
			}
			want := "x-forwarded-client-cert: By=other,By=" + idProxy + ";Hash=" + got.Conn.TLS.Peer.Hash + `;Subject="` + got.Conn.TLS.Peer.Subject + `";URI=` + idDown + "\n"
			if !strings.Contains(head, want) || !strings.Contains(head, "x-forwarded-proto: https\n") {
				t.Errorf("got %s, want %s", head, want)
			}
		}
	})
}

func TestTCPOverEveryWire(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	forEachWire(t, func(t *testing.T, w *wires) {
		c := w.upstream(t, func(_ int, c net.Conn, r *bufio.Reader) {
			sum, _, _ := digest(r) // up to the half-close
			_, _ = c.Write(sum[:])
			_, _ = io.Copy(c, pattern(size, 3))
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		})
		rec := newRecords()
		g := w.rig(t, proxy.NewTCP(proxy.TCPSpec{
			Clusters: []proxy.WeightedCluster{{Cluster: c}}, IdleTimeout: time.Hour, Observers: []flow.Observer{rec},
		}), rec)
		d := w.dial(t, g)
		go func() {
			_, _ = io.Copy(d, pattern(size, 5))
			_ = d.(interface{ CloseWrite() error }).CloseWrite()
		}()
		var sum [32]byte
		if _, err := io.ReadFull(d, sum[:]); err != nil {
			t.Fatal(err)
		}
		if want, _, _ := digest(pattern(size, 5)); sum != want {
			t.Error("upstream got other bytes than were sent")
		}
		got, n, err := digest(d)
		if want, _, _ := digest(pattern(size, 3)); got != want || err != nil {
			t.Errorf("downstream got %d bytes, %v", n, err)
		}
		_ = d.Close()
		r := rec.next(t)
		w.check(t, &r)
		if r.Request.Bytes != size || r.Response.Bytes != size+32 {
			t.Errorf("counted %d up, %d down", r.Request.Bytes, r.Response.Bytes)
		}
	})
}

func TestStrangersWithoutCertificateAreRefused(t *testing.T) {
	t.Parallel()
	w := &wires{ca: mtlstest.NewCA(t, "mesh.test"), down: true}
	g := w.rig(t, say("served"), newRecords())
	c := tls.Client(g.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"istio"}})
	if err := c.HandshakeContext(t.Context()); err == nil { // TLS 1.3 tells with the first read
		if b, err := io.ReadAll(c); len(b) > 0 || err == nil {
			t.Errorf("got %q, %v", b, err)
		}
	}
	poll(t, "the failed handshake is counted", func() bool { return g.listener.Stats.HandshakeFail.Load() == 1 })
}

func TestAHandshakeThatFailsOnATCPPortIsRecorded(t *testing.T) {
	t.Parallel()
	w := &wires{ca: mtlstest.NewCA(t, "mesh.test"), down: true}
	rec := newRecords()
	cluster := w.upstream(t, func(_ int, _ net.Conn, _ *bufio.Reader) { t.Error("the application was dialled for a stranger") })
	tcp := proxy.NewTCP(proxy.TCPSpec{Clusters: []proxy.WeightedCluster{{Cluster: cluster}}, Observers: []flow.Observer{rec}})
	g := w.rig(t, tcp, rec)
	c := tls.Client(g.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"istio"}})
	if err := c.HandshakeContext(t.Context()); err == nil {
		_, _ = io.ReadAll(c)
	}
	r := rec.next(t)
	if r.Request.Bytes != 0 || r.Response.Bytes != 0 || r.Upstream.Attempts != 0 || r.Upstream.Cluster != cluster.Name() {
		t.Errorf("got %+v", r)
	}
	if got := r.Conn.TLS.Failure; !strings.Contains(got, "PEER_DID_NOT_RETURN_A_CERTIFICATE") {
		t.Errorf("got failure %q", got)
	}
}

func TestHalfAHelloIsNotWaitedForLongerThanConfigured(t *testing.T) {
	t.Parallel()
	spec := &proxy.ListenerSpec{
		Name: "l", Address: loopback, Chains: chains(t, &proxy.Chain{Handler: say("served")}),
		Inspect: proxy.Inspect{TLS: true, Timeout: 30 * time.Millisecond},
	}
	g := newRigSpec(t, spec, newRecords())
	c := g.dial()
	_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	if b, err := io.ReadAll(c); len(b) != 0 {
		t.Errorf("got %q, %v", b, err)
	}
	if n := g.listener.Stats.SniffTimeout.Load(); n != 1 {
		t.Errorf("counted %d", n)
	}
}
