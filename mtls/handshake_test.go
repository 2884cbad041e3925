package mtls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

const (
	web     = "spiffe://cluster.local/ns/shop/sa/web"
	reviews = "spiffe://cluster.local/ns/shop/sa/reviews"
)

// meshServer is what an inbound chain of the mesh asks for.
func meshServer(cert, roots *mtls.Secret) mtls.ServerSpec {
	return mtls.ServerSpec{
		Cert: cert, Roots: roots, RequireClientCert: true,
		MatchSANs: []mtls.SANMatcher{{Kind: mtls.SANPrefix, Value: "spiffe://cluster.local/"}},
		ALPN:      []string{"istio-peer-exchange", "istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"},
	}
}

func newServer(t *testing.T, spec mtls.ServerSpec) *mtls.Server {
	t.Helper()
	s, err := mtls.NewServer(spec)
	if err != nil {
		t.Fatalf("NewServer: %v", err)
	}
	return s
}

func newClient(t *testing.T, spec mtls.ClientSpec) *mtls.Client {
	t.Helper()
	c, err := mtls.NewClient(spec)
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	return c
}

// end is one end of a finished handshake.
type end struct {
	conn *tls.Conn
	tls  flow.TLS
	err  error
}

// connect does both ends over an in-memory connection, passes a byte in both
// directions, so that alerts and session tickets arrive, and closes.
func connect(t *testing.T, s *mtls.Server, c *mtls.Client, alpn ...string) (server, client end) {
	t.Helper()
	server, client, done := dial(t, s, c, alpn)
	done()
	return server, client
}

func dial(t *testing.T, s *mtls.Server, c *mtls.Client, alpn []string) (server, client end, done func()) {
	t.Helper()
	near, far := mtlstest.Pipe()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		server.conn, server.tls, server.err = s.Handshake(t.Context(), far)
		if server.err != nil {
			_ = far.Close()
			return
		}
		server.err = ping(server.conn)
	}()
	if alpn == nil {
		client.conn, client.tls, client.err = c.Handshake(t.Context(), near)
	} else {
		client.conn, client.tls, client.err = c.HandshakeALPN(t.Context(), near, alpn)
	}
	if client.err == nil {
		client.err = pong(client.conn)
	}
	if client.err != nil {
		_ = near.Close()
	}
	<-finished
	return server, client, func() { _, _ = near.Close(), far.Close() }
}

func ping(c net.Conn) error {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	_, err := c.Write(b[:])
	return err
}

func pong(c net.Conn) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	var b [1]byte
	_, err := io.ReadFull(c, b[:])
	return err
}

func TestHandshakeTellsBothIdentities(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			ca := mtlstest.NewCA(t, "cluster.local").Intermediate()
			up, down := ca.Secrets(reviews, time.Hour), ca.Secrets(web, time.Hour)
			s := newServer(t, meshServer(up.Get("default"), up.Get("ROOTCA")))
			c := newClient(t, mtls.ClientSpec{
				Cert: down.Get("default"), Roots: down.Get("ROOTCA"),
				SNI:       "outbound_.80_._.Reviews.shop.svc.cluster.local",
				ALPN:      []string{"istio-peer-exchange", "istio"},
				MatchSANs: []mtls.SANMatcher{{Value: reviews}},
				Params:    mtls.Params{MaxVersion: version},
			})
			server, client := connect(t, s, c)
			if server.err != nil || client.err != nil {
				t.Fatalf("server: %v, client: %v", server.err, client.err)
			}
			if got, want := server.tls.SNI, "outbound_.80_._.reviews.shop.svc.cluster.local"; got != want {
				t.Errorf("SNI = %q, want %q", got, want)
			}
			if got, want := server.tls.ALPN, []string{"istio"}; !slices.Equal(got, want) {
				t.Errorf("offered ALPN = %q, want %q", got, want)
			}
			for side, e := range map[string]end{"server": server, "client": client} {
				if !e.tls.Established || e.tls.Version != version || e.tls.CipherSuite == 0 || e.tls.Protocol != "istio" {
					t.Errorf("%s: TLS = %+v", side, e.tls)
				}
				if e.tls.Peer.Hash == "" || len(e.tls.Peer.Hash) != 64 || e.tls.Peer.Serial == "" || e.tls.Peer.NotAfter.IsZero() {
					t.Errorf("%s: peer = %+v", side, e.tls.Peer)
				}
			}
			for what, got := range map[string][2]string{
				"server's peer": {server.tls.Peer.URI(), web}, "server's own": {server.tls.Own.URI(), reviews},
				"client's peer": {client.tls.Peer.URI(), reviews}, "client's own": {client.tls.Own.URI(), web},
			} {
				if got[0] != got[1] {
					t.Errorf("%s = %q, want %q", what, got[0], got[1])
				}
			}
		})
	}
}

func uris(raw ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, r := range raw {
			u, err := url.Parse(r)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

func both(fs ...func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, f := range fs {
			f(c)
		}
	}
}

func TestSessionsOfOnePeerHoldTheSameCertificates(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	up, down := ca.Secrets(reviews, time.Hour), ca.Secrets(web, time.Hour)
	other := ca.Secrets(web, time.Hour)
	s := newServer(t, meshServer(up.Get("default"), up.Get("ROOTCA")))
	shown := func(secrets *mtls.Secrets) []*x509.Certificate {
		c := newClient(t, mtls.ClientSpec{Cert: secrets.Get("default"), Roots: secrets.Get("ROOTCA"), SNI: "reviews", MatchSANs: []mtls.SANMatcher{{Value: reviews}}})
		server, client := connect(t, s, c)
		if err := errors.Join(server.err, client.err); err != nil {
			t.Fatal(err)
		}
		return server.conn.ConnectionState().PeerCertificates
	}
	first := shown(down)
	if again := shown(down); !slices.Equal(again, first) {
		t.Errorf("a new session holds certificates of its own: %p, want %p", again[0], first[0])
	}
	if got := shown(other); got[0] == first[0] || got[0].Equal(first[0]) {
		t.Error("another certificate of the same name was taken for the first")
	}
}

func TestServerRefusesDownstream(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	other := mtlstest.NewCA(t, "cluster.local")
	up := ca.Secrets(reviews, time.Hour)
	for _, tc := range []struct {
		name string
		cert *mtls.Material
		want error
	}{
		{"good", ca.Issue(web, time.Hour), nil},
		{"no extended usage at all", ca.IssueWith(both(uris(web), func(c *x509.Certificate) { c.ExtKeyUsage = nil })), nil},
		{"no certificate", nil, mtls.ErrNoCertificate},
		{"unknown root", other.Issue(web, time.Hour), mtls.ErrUntrusted},
		{"expired", ca.Issue(web, -time.Second), mtls.ErrExpired},
		{"not yet valid", ca.IssueWith(both(uris(web), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), mtls.ErrNotYetValid},
		{"other trust domain", ca.Issue("spiffe://cluster.locality/ns/shop/sa/web", time.Hour), mtls.ErrName},
		{"two URI names", ca.IssueWith(uris(web, "spiffe://cluster.local/ns/admin/sa/root")), mtls.ErrName},
		{"DNS name only", ca.IssueWith(func(c *x509.Certificate) { c.DNSNames = []string{"web.shop"} }), mtls.ErrName},
		{"SPIFFE id as DNS name", ca.IssueWith(func(c *x509.Certificate) { c.DNSNames = []string{web} }), mtls.ErrName},
		{"no name", ca.IssueWith(func(*x509.Certificate) {}), mtls.ErrName},
		{"query in id", ca.IssueWith(uris(web + "?a=b")), mtls.ErrName},
		{"escape in id", ca.IssueWith(uris("spiffe://cluster.local/ns/shop/sa/%77eb")), mtls.ErrName},
		{"relative segment in id", ca.IssueWith(uris("spiffe://cluster.local/ns/../sa/web")), mtls.ErrName},
		{"CA as leaf", ca.IssueWith(both(uris(web), func(c *x509.Certificate) { c.IsCA = true })), mtls.ErrUsage},
		{"server usage only", ca.IssueWith(both(uris(web), func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), mtls.ErrUsage},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s %s", tc.name, tls.VersionName(version)), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, meshServer(up.Get("default"), up.Get("ROOTCA")))
				spec := mtls.ClientSpec{Roots: up.Get("ROOTCA"), Params: mtls.Params{MaxVersion: version}}
				if tc.cert != nil {
					spec.Cert = mtlstest.Secret("default", tc.cert)
				}
				server, client := connect(t, s, newClient(t, spec))
				if !errors.Is(server.err, tc.want) {
					t.Fatalf("server: %v, want %v", server.err, tc.want)
				}
				if (client.err != nil) != (tc.want != nil) {
					t.Errorf("client: %v", client.err)
				}
			})
		}
	}
}

func TestServerWithOptionalClientCertificate(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	up := ca.Secrets(reviews, time.Hour)
	s := newServer(t, mtls.ServerSpec{Cert: up.Get("default"), Roots: up.Get("ROOTCA")})
	without := mtls.ClientSpec{Roots: up.Get("ROOTCA")}
	if server, client := connect(t, s, newClient(t, without)); server.err != nil || client.err != nil || server.tls.Peer.Presented() {
		t.Errorf("without certificate: server %v, client %v, peer %v", server.err, client.err, server.tls.Peer)
	}
	bad := without
	bad.Cert = mtlstest.Secret("default", mtlstest.NewCA(t, "cluster.local").Issue(web, time.Hour))
	if server, _ := connect(t, s, newClient(t, bad)); !errors.Is(server.err, mtls.ErrUntrusted) {
		t.Errorf("with a bad certificate: %v", server.err)
	}
}

func TestClientRefusesUpstream(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	other := mtlstest.NewCA(t, "cluster.local")
	down := ca.Secrets(web, time.Hour)
	want := []mtls.SANMatcher{{Value: "spiffe://cluster.local/ns/shop/sa/ratings"}, {Value: reviews}}
	for _, tc := range []struct {
		name string
		cert *mtls.Material
		spec mtls.ClientSpec
		want error
		text string
	}{
		{name: "good", cert: ca.Issue(reviews, time.Hour), spec: mtls.ClientSpec{MatchSANs: want}},
		{name: "chain only", cert: ca.Issue("spiffe://cluster.local/ns/x/sa/y", time.Hour)},
		{
			name: "other service account", cert: ca.Issue(web, time.Hour), spec: mtls.ClientSpec{MatchSANs: want}, want: mtls.ErrName,
			text: `SAN "` + web + `" is not one of "spiffe://cluster.local/ns/shop/sa/ratings", "` + reviews + `"`,
		},
		{name: "unknown root", cert: other.Issue(reviews, time.Hour), spec: mtls.ClientSpec{MatchSANs: want}, want: mtls.ErrUntrusted, text: "TLS_error: certificate verify failed: "},
		{name: "expired", cert: ca.Issue(reviews, -time.Second), want: mtls.ErrExpired},
		{name: "CA as leaf", cert: ca.IssueWith(both(uris(reviews), func(c *x509.Certificate) { c.IsCA = true })), want: mtls.ErrUsage},
		{name: "client usage only", cert: ca.IssueWith(both(uris(reviews), func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})), want: mtls.ErrUsage},
		{
			name: "host name", cert: ca.IssueWith(func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} }),
			spec: mtls.ClientSpec{VerifyHostname: true, SNI: "api.example.com"},
		},
		{
			name: "other host name", cert: ca.IssueWith(func(c *x509.Certificate) { c.DNSNames = []string{"example.com"} }),
			spec: mtls.ClientSpec{VerifyHostname: true, SNI: "api.example.com"}, want: mtls.ErrName,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, mtls.ServerSpec{Cert: mtlstest.Secret("default", tc.cert)})
			tc.spec.Roots = down.Get("ROOTCA")
			_, client := connect(t, s, newClient(t, tc.spec))
			if !errors.Is(client.err, tc.want) {
				t.Fatalf("client: %v, want %v", client.err, tc.want)
			}
			if tc.text != "" && !strings.Contains(client.err.Error(), tc.text) {
				t.Errorf("client: %v, want it to contain %q", client.err, tc.text)
			}
		})
	}
}

func TestClientThatSkipsVerificationTakesAnything(t *testing.T) {
	cert := mtlstest.NewCA(t, "x").Issue(reviews, -time.Hour)
	s := newServer(t, mtls.ServerSpec{Cert: mtlstest.Secret("default", cert)})
	c := newClient(t, mtls.ClientSpec{InsecureSkipVerify: true})
	if _, client := connect(t, s, c); client.err != nil || client.tls.Peer.URI() != reviews {
		t.Errorf("client: %v, peer %v", client.err, client.tls.Peer)
	}
}

func TestALPN(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	sec := ca.Secrets(web, time.Hour)
	for _, tc := range []struct {
		name         string
		ours, theirs []string
		want         string
	}{
		{"our preference", []string{"istio-http/1.1", "istio"}, []string{"istio", "istio-http/1.1"}, "istio-http/1.1"},
		{"no overlap goes on without", []string{"http/1.1"}, []string{"istio"}, ""},
		{"nothing offered", []string{"http/1.1"}, []string{}, ""},
		{"nothing configured", nil, []string{"istio"}, ""},
		{"what cannot be spoken is passed over", []string{"istio-peer-exchange", "h2", "http/1.1"}, []string{"istio-peer-exchange", "istio-h2", "istio", "h2"}, "h2"},
		{"HTTP/2 is no better than what is preferred", []string{"http/1.1", "h2"}, []string{"h2", "http/1.1"}, "http/1.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			spec := mtls.ServerSpec{Cert: sec.Get("default"), Roots: sec.Get("ROOTCA"), ALPN: tc.ours}
			c := newClient(t, mtls.ClientSpec{Roots: sec.Get("ROOTCA"), ALPN: []string{"never-offered"}})
			server, client := connect(t, newServer(t, spec), c, tc.theirs...)
			if len(tc.theirs) == 0 {
				c = newClient(t, mtls.ClientSpec{Roots: sec.Get("ROOTCA")})
				server, client = connect(t, newServer(t, spec), c)
			}
			if server.err != nil || client.err != nil {
				t.Fatalf("server: %v, client: %v", server.err, client.err)
			}
			if server.tls.Protocol != tc.want || client.tls.Protocol != tc.want {
				t.Errorf("protocol = %q and %q, want %q", server.tls.Protocol, client.tls.Protocol, tc.want)
			}
		})
	}
}

func TestServerNeverAcceptsMetadataExchangeFromForeignClient(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	s := newServer(t, mtls.ServerSpec{Cert: ca.Secrets(web, time.Hour).Get("default"), ALPN: []string{"istio-peer-exchange", "http/1.1"}})
	near, far := mtlstest.Pipe()
	got := make(chan end, 1)
	go func() {
		conn, facts, err := s.Handshake(t.Context(), far)
		got <- end{conn, facts, err}
	}()
	foreign := tls.Client(near, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"istio-peer-exchange"}})
	if err := foreign.HandshakeContext(t.Context()); err != nil {
		t.Fatalf("foreign client: %v", err)
	}
	go func() { _, _ = io.Copy(io.Discard, near) }()
	e := <-got
	_ = near.Close()
	if e.err != nil || e.tls.Protocol != "" || !slices.Equal(e.tls.ALPN, []string{"istio-peer-exchange"}) {
		t.Errorf("server: %v, TLS %+v", e.err, e.tls)
	}
}

func TestHandshakeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sec := mtlstest.NewCA(t, "cluster.local").Secrets(web, time.Hour)
		s := newServer(t, meshServer(sec.Get("default"), sec.Get("ROOTCA")))
		near, far := mtlstest.Pipe()
		defer func() { _, _ = near.Close(), far.Close() }()
		start := time.Now()
		_, _, err := s.Handshake(t.Context(), far)
		if err == nil || time.Since(start) != 10*time.Second {
			t.Errorf("silent downstream: %v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		near2, far2 := mtlstest.Pipe()
		defer func() { _, _ = near2.Close(), far2.Close() }()
		go func() { _, _ = io.Copy(io.Discard, far2) }()
		_, _, err = newClient(t, mtls.ClientSpec{Roots: sec.Get("ROOTCA")}).Handshake(ctx, near2)
		if err == nil || time.Since(start) != time.Second {
			t.Errorf("silent upstream: %v after %v", err, time.Since(start))
		}
	})
}

func TestHandshakeWithoutMaterialIsRefused(t *testing.T) {
	reg := mtlstest.NewCA(t, "cluster.local").Secrets(web, time.Hour)
	empty := mtls.NewSecret("ROOTCA")
	s := newServer(t, meshServer(reg.Get("default"), empty))
	if _, _, err := s.Handshake(t.Context(), nil); !errors.Is(err, mtls.ErrNoMaterial) || !strings.Contains(err.Error(), "ROOTCA") || s.Ready() {
		t.Errorf("server: %v, ready %v", err, s.Ready())
	}
	c := newClient(t, mtls.ClientSpec{Roots: empty})
	if _, _, err := c.Handshake(t.Context(), nil); !errors.Is(err, mtls.ErrNoMaterial) || c.Ready() {
		t.Errorf("client: %v, ready %v", err, c.Ready())
	}
}

func TestSpecsThatVerifyNothingAreRejected(t *testing.T) {
	roots := mtls.NewSecret("ROOTCA")
	if _, err := mtls.NewServer(mtls.ServerSpec{Cert: roots, RequireClientCert: true}); err == nil {
		t.Error("server that requires a certificate but has no roots was accepted")
	}
	if _, err := mtls.NewClient(mtls.ClientSpec{}); err == nil {
		t.Error("client without roots was accepted")
	}
	if _, err := mtls.NewClient(mtls.ClientSpec{Roots: roots, MatchSANs: []mtls.SANMatcher{{Kind: mtls.SANPrefix}}}); err == nil {
		t.Error("empty prefix was accepted")
	}
	if _, err := mtls.NewClient(mtls.ClientSpec{InsecureSkipVerify: true, MatchSANs: []mtls.SANMatcher{{Value: "x"}}}); err == nil {
		t.Error("matching names of an unverified certificate was accepted")
	}
}
