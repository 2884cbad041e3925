package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/upstream"
)

// benchPeer answers each head it reads with a fixed response, without allocating.
func benchPeer(tb testing.TB) netip.AddrPort {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				r, res := bufio.NewReader(conn), []byte("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						return
					}
					if bytes.Equal(line, []byte("\r\n")) {
						if _, err := conn.Write(res); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func benchCluster(tb testing.TB) *upstream.Cluster {
	tb.Helper()
	reaper := upstream.NewReaper()
	c := upstream.New("bench", upstream.Options{Reaper: reaper})
	c.Publish(&upstream.Spec{}, lb.NewSet(nil, specsOf([]netip.AddrPort{benchPeer(tb)}), lb.Policy{}))
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(ctx)
		_ = reaper.Close()
	})
	return c
}

// lend is what each request costs beside the codec.
func lend(tb testing.TB, c *upstream.Cluster, h *lb.Hint, o *upstream.OpenOptions) {
	e, err := c.Pick(h)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := c.Open(tb.Context(), e, o)
	if err != nil {
		tb.Fatal(err)
	}
	s.Close()
}

func BenchmarkPickOpenClose(b *testing.B) {
	c := benchCluster(b)
	h, o := &lb.Hint{}, &upstream.OpenOptions{ALPN: []string{"istio-http/1.1"}}
	b.ReportAllocs()
	for b.Loop() {
		lend(b, c, h, o)
	}
}

func BenchmarkPickOpenCloseParallel(b *testing.B) {
	c := benchCluster(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		h, o := &lb.Hint{}, &upstream.OpenOptions{}
		for pb.Next() {
			lend(b, c, h, o)
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	c := benchCluster(b)
	h, r, buf := &lb.Hint{}, request(), make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		e, err := c.Pick(h)
		if err != nil {
			b.Fatal(err)
		}
		s, err := c.Open(b.Context(), e, nil)
		if err != nil {
			b.Fatal(err)
		}
		res, err := s.RoundTrip(r, time.Time{})
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = res.Body.Read(buf)
		}
		if err != io.EOF { //nolint:errorlint // as returned
			b.Fatal(err)
		}
		s.Close()
	}
}

func BenchmarkOriginalDst(b *testing.B) {
	c := upstream.New("bench", upstream.Options{})
	c.Publish(&upstream.Spec{Kind: upstream.OriginalDst, CleanupInterval: time.Hour}, nil)
	defer c.Close(b.Context())
	h := &lb.Hint{OrigDst: somewhere}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Pick(h); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishEndpoints(b *testing.B) {
	addrs := make([]netip.AddrPort, 10000)
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
	}
	c := upstream.New("bench", upstream.Options{})
	c.Publish(&upstream.Spec{}, lb.NewSet(nil, specsOf(addrs), lb.Policy{}))
	defer c.Close(b.Context())
	specs := specsOf(addrs)
	b.ReportAllocs()
	for b.Loop() {
		c.PublishEndpoints(lb.NewSet(c.Endpoints(), specs, lb.Policy{}))
	}
}
