package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
	"github.com/outrigger-mesh/outrigger/sock/socktest"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// silent accepts connections and says nothing.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return netip.MustParseAddrPort(l.Addr().String())
}

// both runs a test of failures for Open and for Dial.
func both(t *testing.T, c *upstream.Cluster, check func(*testing.T, error)) {
	t.Helper()
	e := pick(t, c)
	_, err := c.Open(t.Context(), e, nil)
	check(t, err)
	_, err = c.Dial(t.Context(), e, nil)
	check(t, err)
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil, socktest.Deaf(t))
	both(t, c, func(t *testing.T, err error) {
		t.Helper()
		wantFlow(t, err, flow.Error{
			Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindConnectFailure, Retry: flow.RetryUnsent,
		})
		fe, _ := flow.AsError(err)
		if want := "delayed connect error: Connection refused"; fe.Details != want {
			t.Errorf("got details %q, want %q", fe.Details, want)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
	})
	if got := c.Stats().CxConnectFail.Load(); got != 2 {
		t.Errorf("counted %d failures, want 2", got)
	}
}

func TestSourceThatIsNotOurs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(s *upstream.Spec) { s.Source = []netip.Addr{netip.MustParseAddr("192.0.2.77")} }, silent(t))
	both(t, c, func(t *testing.T, err error) {
		t.Helper()
		if fe, ok := flow.AsError(err); !ok || fe.Details != "immediate connect error: Cannot assign requested address" {
			t.Errorf("got %v", err)
		}
	})
}

func TestSourceAddress(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	c := newCluster(t, func(s *upstream.Spec) {
		s.Source = []netip.Addr{netip.MustParseAddr("::6"), netip.MustParseAddr("127.0.0.6")}
		s.KeepAlive = upstream.KeepAlive{Enabled: true, Time: time.Minute, Probes: 3}
	}, p.addr())
	s := open(t, c, pick(t, c))
	defer s.Close()
	seen, err := netip.ParseAddrPort(talk(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if seen.Addr() != netip.MustParseAddr("127.0.0.6") || s.Local() != seen {
		t.Errorf("the peer sees %v, the stream says %v; want 127.0.0.6", seen, s.Local())
	}
}

// istio makes the two ends of mutual TLS in one trust domain.
func istio(t *testing.T) (ca *mtlstest.CA, client *mtls.Client) {
	t.Helper()
	ca = mtlstest.NewCA(t, "cluster.local")
	return ca, newClient(t, ca, mtls.ClientSpec{})
}

func newClient(t *testing.T, ca *mtlstest.CA, spec mtls.ClientSpec) *mtls.Client {
	t.Helper()
	secrets := ca.Secrets("spiffe://cluster.local/ns/shop/sa/web", time.Hour)
	spec.Cert, spec.Roots, spec.SNI = secrets.Get(mtls.WorkloadCert), secrets.Get(mtls.WorkloadRoots), "outbound_.80_._.shop"
	if spec.ALPN == nil {
		spec.ALPN = []string{"istio"}
	}
	client, err := mtls.NewClient(spec)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newTLSPeer is newPeer behind the server's end of mutual TLS.
func newTLSPeer(t *testing.T, ca *mtlstest.CA) *peer {
	t.Helper()
	secrets := ca.Secrets("spiffe://cluster.local/ns/shop/sa/reviews", time.Hour)
	server, err := mtls.NewServer(mtls.ServerSpec{
		Cert: secrets.Get(mtls.WorkloadCert), Roots: secrets.Get(mtls.WorkloadRoots), RequireClientCert: true,
		ALPN: []string{"istio-http/1.1", "istio"},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))}
	p.Listener = &tlsListener{Listener: p.Listener, server: server, count: func() { p.accepted.Add(1) }}
	p.Start()
	t.Cleanup(p.Close)
	return p
}

// tlsListener does the handshake within Accept, which is enough for a test.
type tlsListener struct {
	net.Listener
	server *mtls.Server
	count  func()
}

func (l *tlsListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.count()
		tc, _, err := l.server.Handshake(context.Background(), conn)
		if err == nil {
			return &opaque{tc}, nil
		}
		_ = conn.Close()
	}
}

// opaque hides that a connection is TLS from net/http, which would want its ALPN.
type opaque struct{ net.Conn }

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca, client := istio(t)
	p := newTLSPeer(t, ca)
	c := newCluster(t, func(s *upstream.Spec) {
		s.Default = upstream.Socket{Name: "tls", TLS: client}
		s.ALPNOverride = true
	}, p.addr())
	e := pick(t, c)
	use := func(o *upstream.OpenOptions) (protocol string, reused bool) {
		s, err := c.Open(t.Context(), e, o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		talk(t, s)
		if !s.TLS().Established || s.TLS().Peer.URI() != "spiffe://cluster.local/ns/shop/sa/reviews" {
			t.Errorf("got TLS facts %+v", s.TLS())
		}
		return s.TLS().Protocol, s.Reused()
	}
	http11 := &upstream.OpenOptions{ALPN: []string{"istio-http/1.1"}}
	for i, tt := range []struct {
		o      *upstream.OpenOptions
		want   string
		reused bool
	}{{nil, "istio", false}, {http11, "istio-http/1.1", false}, {nil, "istio", true}, {http11, "istio-http/1.1", true}} {
		if got, reused := use(tt.o); got != tt.want || reused != tt.reused {
			t.Errorf("exchange %d: got %s, reused %v; want %s, %v", i, got, reused, tt.want, tt.reused)
		}
	}
	conn, err := c.Dial(t.Context(), e, http11)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Done()
	if conn.TLS.Protocol != "istio-http/1.1" || !conn.Local().IsValid() {
		t.Errorf("got %+v from %v", conn.TLS, conn.Local())
	}
}

func TestRotationKeepsConnections(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "cluster.local")
	secrets := ca.Secrets("spiffe://cluster.local/ns/shop/sa/web", time.Hour)
	client, err := mtls.NewClient(mtls.ClientSpec{Cert: secrets.Get(mtls.WorkloadCert), Roots: secrets.Get(mtls.WorkloadRoots)})
	if err != nil {
		t.Fatal(err)
	}
	p := newTLSPeer(t, ca)
	c := newCluster(t, func(s *upstream.Spec) { s.Default.TLS = client }, p.addr())
	e := pick(t, c)
	exchange(t, c, e)
	secrets.Get(mtls.WorkloadCert).Update(ca.Issue("spiffe://cluster.local/ns/shop/sa/web", 2*time.Hour))
	if _, reused := exchange(t, c, e); !reused {
		t.Error("a rotation cost the connection")
	}
}

// TestDeadTLSConnectionIsFoundAtCheckOut leaves a session ticket unread in front of
// the end, as a connection that was never used has it.
func TestDeadTLSConnectionIsFoundAtCheckOut(t *testing.T) {
	t.Parallel()
	ca, client := istio(t)
	p := newTLSPeer(t, ca)
	c, dialled := dialling(t)
	c.Publish(&upstream.Spec{Default: upstream.Socket{TLS: client}}, lb.NewSet(nil, specsOf(addrsOf(p)), lb.Policy{}))
	e := pick(t, c)
	open(t, c, e).Close()
	first := <-dialled
	eventually(t, "the end has arrived", func() bool {
		p.CloseClientConnections() // once the peer has taken the connection up
		return socktest.Ended(t, first)
	})
	s := open(t, c, e)
	defer s.Close()
	if s.Reused() {
		t.Error("a dead connection was used")
	}
	if got := c.Stats().Stale.Found.Load(); got != 1 {
		t.Errorf("found %d dead connections, want 1", got)
	}
}

func TestSocketFollowsEndpointAndSpec(t *testing.T) {
	t.Parallel()
	ca, client := istio(t)
	p := newTLSPeer(t, ca)
	plain := newPeer(t, nil)
	spec := func() *upstream.Spec {
		return &upstream.Spec{ConnectTimeout: time.Minute, Sockets: []upstream.SocketMatch{
			{Name: "tlsMode-istio", Match: map[string]string{"tlsMode": "istio"}, TLS: client},
			{Name: "tlsMode-disabled"},
		}}
	}
	c := newCluster(t, nil)
	c.Publish(spec(), lb.NewSet(nil, []lb.EndpointSpec{
		{Addr: p.addr(), Match: map[string]string{"tlsMode": "istio", "more": "x"}}, {Addr: plain.addr()},
	}, lb.Policy{}))
	meshed, bare := c.Endpoints().Endpoints()[0], c.Endpoints().Endpoints()[1]
	for _, want := range []bool{false, true} {
		for _, e := range []*lb.Endpoint{meshed, bare} {
			s := open(t, c, e)
			if got := s.TLS().Established; got != (e == meshed) {
				t.Errorf("%v: TLS is %v", e.Addr(), got)
			}
			talk(t, s)
			if s.Reused() != want {
				t.Errorf("%v: reused %v, want %v", e.Addr(), s.Reused(), want)
			}
			s.Close()
		}
		c.Publish(spec(), c.Endpoints()) // equal, and thus no reason to begin anew
	}
	inFlight := open(t, c, meshed)
	other := spec()
	other.Sockets[0].TLS = newClient(t, ca, mtls.ClientSpec{ALPN: []string{"istio-http/1.1"}})
	c.Publish(other, c.Endpoints())
	s := open(t, c, meshed)
	if s.Reused() || s.TLS().Protocol != "istio-http/1.1" {
		t.Errorf("after the socket changed: reused %v, protocol %s", s.Reused(), s.TLS().Protocol)
	}
	talk(t, s)
	s.Close()
	talk(t, inFlight)
	inFlight.Close()
	// The endpoint leaves the mesh: plain text from now on, which this peer does not speak.
	c.PublishEndpoints(lb.NewSet(c.Endpoints(), []lb.EndpointSpec{{Addr: p.addr()}, {Addr: plain.addr()}}, lb.Policy{}))
	s = open(t, c, meshed)
	if s.TLS().Established {
		t.Error("the endpoint's new metadata was ignored")
	}
	s.Close()
	if _, reused := exchange(t, c, bare); !reused {
		t.Error("the other endpoint lost its connection")
	}
}

func TestHandshakeFailures(t *testing.T) {
	t.Parallel()
	ca, client := istio(t)
	stranger, _ := istio(t)
	hangUp := silentListener(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 64<<10))
		_ = conn.Close()
	})
	reset := silentListener(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	})
	garbage := silentListener(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	for name, tt := range map[string]struct {
		to   netip.AddrPort
		want string
	}{
		"plain text":         {garbage, "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"},
		"unknown authority":  {newTLSPeer(t, stranger).addr(), "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate:TLS_error_end"},
		"peer goes away":     {hangUp, ""},
		"peer resets":        {reset, "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"},
		"works as a control": {newTLSPeer(t, ca).addr(), "works"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, func(s *upstream.Spec) { s.Default.TLS = client }, tt.to)
			if tt.want == "works" {
				exchange(t, c, pick(t, c))
				return
			}
			both(t, c, func(t *testing.T, err error) {
				t.Helper()
				wantFlow(t, err, flow.Error{
					Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindTLSFailure, Retry: flow.RetryUnsent,
				})
				fe, _ := flow.AsError(err)
				if fe.Details != tt.want {
					t.Errorf("got details %q, want %q", fe.Details, tt.want)
				}
			})
		})
	}
}

// silentListener hands accepted connections to serve.
func silentListener(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestConnectTimeoutCoversTheHandshake(t *testing.T) {
	t.Parallel()
	_, client := istio(t)
	c := newCluster(t, func(s *upstream.Spec) {
		s.Default.TLS = client
		s.ConnectTimeout = 50 * time.Millisecond
	}, silent(t))
	both(t, c, func(t *testing.T, err error) {
		t.Helper()
		wantFlow(t, err, flow.Error{
			Side: flow.SideUpstream, Flag: flow.UpstreamConnectionFailure, Kind: flow.KindConnectTimeout, Retry: flow.RetryUnsent,
		})
	})
}

func TestTCPHalfClose(t *testing.T) {
	t.Parallel()
	echo := silentListener(t, func(conn net.Conn) {
		all, _ := io.ReadAll(conn)
		_, _ = conn.Write(all)
		_ = conn.Close()
	})
	c := newCluster(t, nil, echo)
	e := pick(t, c)
	conn, err := c.Dial(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Done()
	if _, ok := conn.Conn.(*net.TCPConn); !ok || e.Active() != 1 {
		t.Errorf("got a %T, %d active", conn.Conn, e.Active())
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
