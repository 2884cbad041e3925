package mtls_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

// A chain that was found good is not verified again; these are the ways in which it
// may have ceased to be good, for handshakes that resume nothing.

func TestProvenChainIsRefusedOnceExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := mtlstest.NewCA(t, "cluster.local")
		up, down := ca.Secrets(reviews, 24*time.Hour), ca.Secrets(web, time.Minute)
		s := newServer(t, meshServer(up.Get("default"), up.Get("ROOTCA")))
		for _, step := range []struct {
			wait time.Duration
			want error
		}{{0, nil}, {30 * time.Second, nil}, {31 * time.Second, mtls.ErrExpired}, {time.Hour, mtls.ErrExpired}} {
			time.Sleep(step.wait)
			c := newClient(t, mtls.ClientSpec{Cert: down.Get("default"), Roots: down.Get("ROOTCA")})
			if server, _ := connect(t, s, c); !errors.Is(server.err, step.want) {
				t.Errorf("after %v: %v, want %v", step.wait, server.err, step.want)
			}
		}
	})
}

func TestProvenChainIsRefusedForAnotherUse(t *testing.T) {
	ca := mtlstest.NewCA(t, "cluster.local")
	roots := mtlstest.Secret("ROOTCA", ca.Trust())
	serving := mtlstest.Secret("default", ca.IssueWith(both(uris(web), func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})))
	calling := mtlstest.Secret("default", ca.Issue(reviews, time.Hour))
	first, _ := connect(t, newServer(t, meshServer(serving, roots)), newClient(t, mtls.ClientSpec{Cert: calling, Roots: roots}))
	if first.err != nil {
		t.Fatalf("as a server: %v", first.err)
	}
	second, _ := connect(t, newServer(t, meshServer(calling, roots)), newClient(t, mtls.ClientSpec{Cert: serving, Roots: roots}))
	if !errors.Is(second.err, mtls.ErrUsage) {
		t.Errorf("as a client: %v, want %v", second.err, mtls.ErrUsage)
	}
}

func TestProvenChainIsRefusedUnderOtherRoots(t *testing.T) {
	ca, other := mtlstest.NewCA(t, "cluster.local"), mtlstest.NewCA(t, "cluster.local")
	up, down := ca.Secrets(reviews, time.Hour), ca.Secrets(web, time.Hour)
	s := newServer(t, meshServer(up.Get("default"), up.Get("ROOTCA")))
	client := func() *mtls.Client {
		return newClient(t, mtls.ClientSpec{Cert: down.Get("default"), Roots: down.Get("ROOTCA")})
	}
	if server, _ := connect(t, s, client()); server.err != nil {
		t.Fatal(server.err)
	}
	up.Get("ROOTCA").Update(other.Trust())
	if server, _ := connect(t, s, client()); !errors.Is(server.err, mtls.ErrUntrusted) {
		t.Errorf("under other roots: %v, want %v", server.err, mtls.ErrUntrusted)
	}
}
