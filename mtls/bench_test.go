package mtls_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/mtls"
	"github.com/outrigger-mesh/outrigger/mtls/mtlstest"
)

func BenchmarkHandshake(b *testing.B) {
	ca := mtlstest.NewCA(b, "cluster.local")
	reg := ca.Secrets(web, time.Hour)
	s, err := mtls.NewServer(meshServer(reg.Get("default"), reg.Get("ROOTCA")))
	if err != nil {
		b.Fatal(err)
	}
	spec := mtls.ClientSpec{
		Cert: reg.Get("default"), Roots: reg.Get("ROOTCA"), ALPN: []string{"istio"},
		MatchSANs: []mtls.SANMatcher{{Value: web}},
	}
	for _, kind := range []string{"full", "resumed"} {
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			c, err := mtls.NewClient(spec)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if kind == "full" {
					if c, err = mtls.NewClient(spec); err != nil {
						b.Fatal(err)
					}
				}
				near, far := mtlstest.Pipe()
				if err := exchange(b, s, c, near, far); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func exchange(b *testing.B, s *mtls.Server, c *mtls.Client, near, far net.Conn) error {
	b.Helper()
	done := make(chan error, 1)
	go func() {
		conn, _, err := s.Handshake(b.Context(), far)
		if err == nil {
			err = ping(conn)
		}
		done <- err
	}()
	conn, _, err := c.Handshake(b.Context(), near)
	if err == nil {
		err = pong(conn)
	}
	return errors.Join(err, <-done, near.Close())
}
