package mtls_test

import (
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

// resumption sets up one pair of ends and reports whether a further handshake
// resumed the session of the one before.
type resumption struct {
	ca     *mtlstest.CA
	up     *mtls.Secrets
	server *mtls.Server
	client *mtls.Client
}

func newResumption(t *testing.T, version uint16, ttl time.Duration) *resumption {
	t.Helper()
	ca := mtlstest.NewCA(t, "cluster.local")
	up, down := ca.Secrets(reviews, 24*time.Hour), ca.Secrets(web, ttl)
	return &resumption{
		ca: ca, up: up,
		server: newServer(t, meshServer(up.Get("default"), up.Get("ROOTCA"))),
		client: newClient(t, mtls.ClientSpec{
			Cert: down.Get("default"), Roots: down.Get("ROOTCA"), SNI: "reviews",
			MatchSANs: []mtls.SANMatcher{{Value: reviews}},
			Params:    mtls.Params{MaxVersion: version},
		}),
	}
}

func (r *resumption) connect(t *testing.T) (resumed bool, err error) {
	t.Helper()
	server, client := connect(t, r.server, r.client)
	if err := errors.Join(server.err, client.err); err != nil {
		return false, err
	}
	if server.tls.Peer.URI() != web || client.tls.Peer.URI() != reviews {
		t.Errorf("peers = %q and %q", server.tls.Peer.URI(), client.tls.Peer.URI())
	}
	return server.conn.ConnectionState().DidResume, nil
}

func forBothVersions(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, version) })
		})
	}
}

func TestSessionIsResumed(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, time.Hour)
		for i := range 3 {
			resumed, err := r.connect(t)
			if err != nil || resumed != (i > 0) {
				t.Errorf("handshake %d: resumed %v, error %v", i, resumed, err)
			}
		}
	})
}

func TestSessionIsNotResumedAfterRootChange(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, time.Hour)
		if _, err := r.connect(t); err != nil {
			t.Fatal(err)
		}
		r.up.Get("ROOTCA").Update(mtlstest.NewCA(t, "cluster.local").Trust())
		if _, err := r.connect(t); !errors.Is(err, mtls.ErrUntrusted) {
			t.Errorf("after the root changed: %v, want %v", err, mtls.ErrUntrusted)
		}
		r.up.Get("ROOTCA").Update(r.ca.Trust())
		if resumed, err := r.connect(t); err != nil || resumed {
			t.Errorf("after the root came back: resumed %v, error %v", resumed, err)
		}
	})
}

func TestSessionIsNotResumedAfterPeerExpired(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, time.Minute)
		if _, err := r.connect(t); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := r.connect(t); !errors.Is(err, mtls.ErrExpired) {
			t.Errorf("after expiry: %v, want %v", err, mtls.ErrExpired)
		}
	})
}

func TestSessionIsNotResumedAfterOwnRotation(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, time.Hour)
		if _, err := r.connect(t); err != nil {
			t.Fatal(err)
		}
		r.up.Get("default").Update(r.ca.Issue(reviews, time.Hour))
		if resumed, err := r.connect(t); err != nil || resumed {
			t.Errorf("resumed %v, error %v", resumed, err)
		}
	})
}

func TestServersDoNotShareTickets(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		r := newResumption(t, version, time.Hour)
		if _, err := r.connect(t); err != nil {
			t.Fatal(err)
		}
		r.server = newServer(t, meshServer(r.up.Get("default"), r.up.Get("ROOTCA")))
		if resumed, err := r.connect(t); err != nil || resumed {
			t.Errorf("resumed %v, error %v", resumed, err)
		}
	})
}

func TestRotationLeavesOpenConnections(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	up, down := ca.Secrets(reviews, time.Hour), ca.Secrets(web, time.Hour)
	s := newServer(t, meshServer(up.Get("default"), up.Get("ROOTCA")))
	c := newClient(t, mtls.ClientSpec{Cert: down.Get("default"), Roots: down.Get("ROOTCA")})
	server, client, done := dial(t, s, c, nil)
	defer done()
	if server.err != nil || client.err != nil {
		t.Fatalf("server: %v, client: %v", server.err, client.err)
	}
	next := mtlstest.NewCA(t, "cluster.local")
	for _, reg := range []*mtls.Secrets{up, down} {
		reg.Get("default").Update(next.Issue(web, time.Hour))
		reg.Get("ROOTCA").Update(next.Trust())
	}
	for range 3 {
		errs := make(chan error, 1)
		go func() { errs <- ping(server.conn) }()
		if err := errors.Join(pong(client.conn), <-errs); err != nil {
			t.Fatalf("open connection after rotation: %v", err)
		}
	}
	if server, client := connect(t, s, c); server.err != nil || client.err != nil {
		t.Errorf("new connection after rotation: server %v, client %v", server.err, client.err)
	}
}

func TestSecretsMayChangeDuringHandshakes(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	reg := ca.Secrets(web, time.Hour)
	s := newServer(t, meshServer(reg.Get("default"), reg.Get("ROOTCA")))
	c := newClient(t, mtls.ClientSpec{Cert: reg.Get("default"), Roots: reg.Get("ROOTCA"), ALPN: []string{"istio"}})
	certs := []*mtls.Material{ca.Issue(web, time.Hour), ca.Issue(web, time.Hour)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				reg.Get("default").Update(certs[i%2])
			}
		}
	})
	var ends sync.WaitGroup
	for range 4 {
		ends.Go(func() {
			for range 10 {
				if server, client := connect(t, s, c); server.err != nil || client.err != nil {
					t.Errorf("server: %v, client: %v", server.err, client.err)
				}
			}
		})
	}
	ends.Wait()
	close(stop)
	wg.Wait()
}
